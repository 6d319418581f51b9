"""How long writes wait while old events are removed: a part of `make bench`, run by bench.py.

    python3 Benchmarks/bench.py retention     (ROWS=10000000, DATABASE=sqlite or postgresql or both)

The rows are made by one statement, evenly over 800 days, so that half of them are too old. One user makes
one chat after another, in turns of some seconds alone and beside `proxy-gpt-admin retention`.
"""

import contextlib
import os
import sqlite3
import subprocess
import time

import database
from client import call
from databases import place_on_disk
from stack import Stack

ROWS = int(os.environ.get("ROWS", "10000000"))
ROUNDS, SECONDS = 5, 6
DATABASES = os.environ.get("DATABASE", "sqlite,postgresql").split(",")
DAY = 86_400_000

# The id begins with the milliseconds, as a UUID of version 7 does.
FILL = """INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path, status, duration_us,
        user_id, model, prompt_tokens, completion_tokens, bytes_in, bytes_out, "end", process)
    SELECT substr(head, 1, 8) || '-' || substr(head, 9) || '-7000-8000-' || tail, moment, 'forward',
        'request-' || tail, '192.0.2.1', 'POST', '/v1/chat/completions', 200, 1000,
        '01234567-89ab-7cde-8f01-23456789abcd', 'gpt-4', 100, 100, 300, 300, 'done', 'p'
    FROM (SELECT moment, {head} AS head, {tail} AS tail FROM
        (SELECT n, {start} + n * {days} / {rows} AS moment FROM numbers) AS moments) AS rows"""


def fill(server, name):
    words = bounds() | {"head": "lpad(to_hex(moment), 12, '0')", "tail": "lpad(n::text, 12, '0')"}
    numbers = f"WITH numbers AS (SELECT generate_series(0::bigint, {ROWS - 1}) AS n) "
    # Not autovacuum, which would be the one to write meanwhile.
    last = "VACUUM (FREEZE, ANALYZE) events"
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", server.directory, "-U", "postgres"]
    commands = ("SET synchronous_commit = off", numbers + FILL.format(**words), last, "CHECKPOINT")
    options = [option for one in commands for option in ("-c", one)]
    subprocess.run([*command, "-d", name, *options], check=True)


def fill_file(path):
    words = bounds() | {"head": "printf('%012x', moment)", "tail": "printf('%012d', n)"}
    numbers = (
        "WITH RECURSIVE numbers (n) AS"
        f" (VALUES (0) UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS - 1}) "
    )
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = DELETE", "journal_mode = OFF", "synchronous = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(numbers + FILL.format(**words))
        connection.execute("PRAGMA journal_mode = WAL")
    # Or the first checkpoint would wait for gigabytes.
    subprocess.run(["sync", path], check=True)


def bounds():
    return {"start": int(time.time() * 1000) - 800 * DAY, "days": 800 * DAY, "rows": ROWS}


def retention(heading):
    heading(f"writes while half of {ROWS} rows of events are removed")
    for name in DATABASES:
        with place_on_disk(name, "retention") as place:
            with Stack(workers=1, **place) as stack:
                stack.signup("writer", "password-1")
            began = time.monotonic()
            if place["database"] == "sqlite":
                fill_file(os.path.join(place["state_directory"], "proxy.db"))
            else:
                fill(*place["database"])
            print(f"{name}: {ROWS} rows made in {time.monotonic() - began:.0f} s", flush=True)
            with Stack(workers=1, **place) as stack:
                remove(stack)


def remove(stack):
    form = {"username": "writer", "password": "password-1"}
    token = call(stack.url, "POST", "/user/login", form=form).json["token"]

    def write(seconds):
        times = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            answer = call(stack.url, "POST", "/chat/create", form={}, token=token)
            assert answer.status == 200, answer.body
            times.append((time.monotonic() - began) * 1000)
            time.sleep(0.002)
        return times

    alone, beside = [], []
    write(2)
    for _ in range(ROUNDS):
        alone += write(SECONDS)
        process = stack.start_admin("retention")
        try:
            beside += write(SECONDS)
            assert process.poll() in (None, 0), process.stderr.read()
        finally:
            process.terminate()
            process.communicate()
    print(f"    alone:  {described(alone)}")
    print(f"    beside: {described(beside)}")
    database.stop_workers(stack)
    [row] = database.rows(stack, "SELECT timestamp FROM events ORDER BY id LIMIT 1")
    removed = (row["timestamp"] / 1000 - time.time() + 800 * DAY / 1000) * 1000 * ROWS / (800 * DAY)
    print(f"    {removed:,.0f} rows removed in {ROUNDS * SECONDS} s", flush=True)


def described(times):
    times = sorted(times)

    def share(part):
        return f"{times[int(len(times) * part)]:.1f} ms"

    return (
        f"{len(times)} writes, p50 {share(0.5)}, p99 {share(0.99)}, p99.9 {share(0.999)},"
        f" longest {times[-1]:.1f} ms"
    )
