"""What a call, a message and an event row take of the disk, and what becomes of that in a year.

    python3 Benchmarks/bench.py rows     (CALLS=5000, DATABASE=sqlite or postgresql or both)

The rows are those of real calls through nginx; between two looks at the sizes all processes stop. Texts are words in
random order, so that PostgreSQL compresses them about as it does English. A year is reckoned from what was measured.
"""

import json
import math
import os
import random
import re
import threading
import time

import database
import growth_data
from chats import Poster
from client import connect, send
from databases import place_on_disk
from stack import CHECKOUT, Stack

CALLS = int(os.environ.get("CALLS", "5000"))
DATABASES = os.environ.get("DATABASE", "sqlite,postgresql").split(",")
THREADS = 8
DAY = 86_400
# KiB of a request's text, which the answer repeats.
BODIES = (0.5, 4, 16)
RATES = (10, 100, 1000)


def rows(heading):
    heading(f"bytes on the disk, from {CALLS} calls of each kind")
    for name in DATABASES:
        with place_on_disk(name, "rows") as place:
            with Stack(workers=1, settings={"MAX_REPLIES_PER_USER": 64}, **place) as stack:
                print(f"\n{name}", flush=True)
                reckon(measure(stack))
                give_back(stack)


# Sizes


class Look:
    """Sizes and counts of a database whose processes have stopped."""

    def __init__(self, stack):
        run = server_sizes if stack.server else file_sizes
        self.sizes, self.log = run(stack)
        self.whole = whole_size(stack)
        self.counts = {table: count(stack, table) for table in ("events", "event_bodies", "messages", "chats")}

    def since(self, before, table, part):
        """Bytes by row of those that have come."""
        rows = self.counts[table] - before.counts[table]
        return (self.sizes.get((table, part), 0) - before.sizes.get((table, part), 0)) / rows if rows else 0


def count(stack, table):
    return database.rows(stack, f"SELECT COUNT(*) AS count FROM {table}")[0]["count"]


def file_sizes(stack):
    """Bytes by table and part; pages are counted whole."""
    found = {}
    for row in database.rows(
        stack,
        "SELECT tbl_name, type, size FROM (SELECT name, SUM(pgsize) AS size FROM dbstat GROUP BY name) AS sizes"
        " JOIN sqlite_master USING (name)",
    ):
        key = (row["tbl_name"], "table" if row["type"] == "table" else "indexes")
        found[key] = found.get(key, 0) + row["size"]
    return found, written_by(stack)


def server_sizes(stack):
    found = {}
    for row in database.rows(
        stack,
        "SELECT relname AS name, pg_table_size(oid) AS size, pg_indexes_size(oid) AS indexes FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    ):
        found[row["name"], "table"] = row["size"]
        found[row["name"], "indexes"] = row["indexes"]
    return found, int(stack.server.run("SELECT pg_current_wal_lsn() - '0/0'"))


# What the worker that just ended has written to files.
_written = {}


def written_by(stack):
    return _written.get(stack, 0)


def note_written(stack):
    """Reads how much the worker has written, before it ends."""
    with open(f"/proc/{stack.workers[0].pid}/io") as file:
        found = re.search(r"^write_bytes: (\d+)", file.read(), re.MULTILINE)
    _written[stack] = _written.get(stack, 0) + int(found[1])


def look(stack):
    note_written(stack)
    database.stop_workers(stack)
    stack.stop_streamer()
    if stack.server:
        stack.server.run("VACUUM", stack.database_name)
    seen = Look(stack)
    stack.start_worker()
    stack.start_streamer()
    return seen


# Calls


def measure(stack):
    """Bytes by row and by call, which are printed."""
    words = re.findall(r"[A-Za-z]{2,}", " ".join(path.read_text() for path in sorted((CHECKOUT / "docs").glob("*.md"))))
    chance = random.Random(1)
    token, _ = stack.signup()
    figures = {}

    long = " ".join(chance.choices(words, k=100_000))

    def text(size):
        start = chance.randrange(len(long) - int(size))
        return long[start : start + int(size)]

    def run(act, calls=CALLS):
        """Makes calls from several threads; the looks before and after."""
        before = look(stack)
        failures = []

        def some():
            poster = Poster(stack, token)
            try:
                for _ in range(calls // THREADS):
                    act(poster)
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=some) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise SystemExit(f"a call failed: {failures[0]}")
        return before, look(stack)

    for size in BODIES:
        before, after = run(lambda poster, size=size: forward(poster, text(size * 1024)))
        bodies = after.since(before, "event_bodies", "table") + after.since(before, "event_bodies", "indexes")
        figures["bodies", size] = bodies
        show(f"bodies of a call below /v1, {size:g} KiB each way", bodies, after, before)
        if size == BODIES[0]:
            event = after.since(before, "events", "table"), after.since(before, "events", "indexes")
            figures["event"] = sum(event)
            line("row of events of such a call", event)
    before, after = run(lambda poster: poster.post("/chat/create", name="A chat about Spain", model="mock?bytes=400"))
    chat = after.since(before, "chats", "table"), after.since(before, "chats", "indexes")
    line("chat", chat)
    chats = [one["id"] for one in Poster(stack, token).post("/chat/index", limit=500)["chats"]]
    for stream in ("false", "true"):
        name = "streamed prompt" if stream == "true" else "prompt"
        before, after = run(
            lambda poster, stream=stream: prompt(stack, poster, chance.choice(chats), text(100), stream), CALLS // 2
        )
        message = after.since(before, "messages", "table"), after.since(before, "messages", "indexes")
        figures["message"] = sum(message)
        line("message of a " + name + ": 100 and 500 bytes", message)
        events = after.counts["events"] - before.counts["events"]
        messages = after.counts["messages"] - before.counts["messages"]
        size = after.since(before, "events", "table") + after.since(before, "events", "indexes")
        print(f"    {f'rows of events of a {name}: {events / messages:.1f}':46} {size * events / messages:8,.0f}")
        print(f"    {f'written to the log for a {name}':46} {(after.log - before.log) / messages:8,.0f}", flush=True)
    bus = os.path.join(stack.state_directory, "bus.db")
    print(f"    {'bus.db after these prompts, it keeps ten minutes':46} {os.path.getsize(bus):8,}", flush=True)
    return figures


def line(label, parts):
    print(f"    {label:46} {sum(parts):8,.0f} ({parts[0]:,.0f} and {parts[1]:,.0f} of indexes)", flush=True)


def show(label, size, after, before):
    calls = after.counts["events"] - before.counts["events"]
    print(f"    {label:46} {size:8,.0f}, written to the log {(after.log - before.log) / calls:,.0f}", flush=True)


def forward(poster, text):
    body = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": text}]}).encode()
    send(poster.connection, "POST", "/v1/chat/completions", body, [("Content-Type", "application/json")], poster.token)
    response = poster.connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise RuntimeError(f"{response.status} {answer[:300]!r}")


def prompt(stack, poster, chat, text, stream):
    poster.post("/chat/prompt", id=chat, prompt=text, stream=stream)
    if stream == "true":
        # No more at once than may.
        stack.mock("/mock/wait?in-flight=0")


# A year


def reckon(figures):
    """What a year takes, of calls below /v1 with bodies of 4 KiB and of prompts."""
    event, message, bodies = figures["event"], figures["message"], figures["bodies", BODIES[1]]
    print("    a year of calls below /v1: rows of a year, bodies of 4 KiB each way for EVENT_DAYS=30, and 1")
    for rate in RATES:
        calls = rate * DAY
        print(
            f"    {rate:6,}/s: {gigabytes(calls * 365 * event)} of events ({gigabytes(calls * event)} a day),"
            f" {gigabytes(calls * 30 * bodies)} of bodies, {gigabytes(calls * bodies)} with EVENT_DAYS=1;"
            f" with EVENT_ROW_DAYS=30 {gigabytes(calls * 30 * event)} of events"
        )
    print("    a year of prompts: their messages, which stay, and a row of events each")
    for rate in RATES:
        calls = rate * DAY * 365
        print(f"    {rate:6,}/s: {gigabytes(calls * message)} of messages, {gigabytes(calls * event)} of events")


def gigabytes(size):
    digits = max(0, 1 - math.floor(math.log10(size / 1e9)))
    return f"{size / 1e9:,.{digits}f} GB"


# What retention gives back


def give_back(stack, share=0.03):
    """Old rows go, as many new ones come: is the room of the former used again?"""
    now, has_server = int(time.time() * 1000), bool(stack.server)

    def add(days_ago):
        fill(stack, growth_data.World(share, {}, {}, has_server, now=now - days_ago * DAY * 1000))
        return look(stack)

    # With new ones first: on SQLite a clock that seems to have jumped keeps everything.
    add(0)
    before = add(400)
    code, _, errors = stack.admin("retention", timeout=600)
    if code != 0:
        raise SystemExit(f"retention: {errors}")
    middle = look(stack)
    after = add(1)
    looks = before, middle, after
    sizes = [sum(seen.sizes.get(("events", part), 0) for part in ("table", "indexes")) for seen in looks]
    rows = [seen.counts["events"] for seen in looks]
    print(f"    retention removes {rows[0] - rows[1]:,} of {rows[0]:,} rows, then {rows[2] - rows[1]:,} come anew:")
    print(f"        events with indexes: {', '.join(f'{size / 1e6:.1f}' for size in sizes)} MB")
    print(f"        whole database: {', '.join(f'{seen.whole / 1e6:.1f}' for seen in looks)} MB", flush=True)


def fill(stack, world):
    database.stop_workers(stack)
    stack.stop_streamer()
    run = growth_data.on_server if stack.server else growth_data.in_file
    with run(stack) as execute:
        for label, statement in world.records():
            if label == "events":
                execute(statement)
    stack.start_worker()
    stack.start_streamer()


def whole_size(stack):
    if stack.server:
        return int(stack.server.run(f"SELECT pg_database_size('{stack.database_name}')"))
    return os.path.getsize(stack.database)
