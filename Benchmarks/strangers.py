"""What people without a credential cost: bytes on the disk, and the log-ins of others.

    python3 Benchmarks/bench.py disk logins retention     (SECONDS_OF_FLOOD=60, ROWS=3000000)

The disk part floods one way after another from one address, as fast as wrk can, with the limits of
production, and prints by how much every file of the stack has grown. The log-in part measures one user's
log-ins while others change passwords and guess. The retention part removes most rows of a generated
database while a user makes chats.
"""

import concurrent.futures
import os
import pathlib
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
import uuid

from client import call
from stack import Stack, binary

SECONDS = int(os.environ.get("SECONDS_OF_FLOOD", "10"))
ROWS = int(os.environ.get("ROWS", "3000000"))
DAY = 86_400_000

WRONG = '{["Authorization"]="Bearer wrong", ["User-Agent"]=string.rep("b", 3000)}'
FORM = '{["Content-Type"]="application/x-www-form-urlencoded"}'
LONG = '..string.rep("a", 3000)'
WAYS = {
    "no credential": f'"GET", "/v1/"{LONG}, {{["User-Agent"]=string.rep("b", 3000)}}',
    "wrong token": f'"GET", "/v1/"{LONG}, {WRONG}',
    "wrong token, own path": f'"GET", "/nowhere/"{LONG}, {WRONG}',
    "wrong log-in": f'"POST", "/user/login", {FORM}, "username=asim&password=wrong"',
    "log-in of many": f'"POST", "/user/login", {FORM}, "username=u"..math.random(1e9).."&password=wrong"',
    "bad body": f'"POST", "/user/login", {FORM}, "username=%zz"',
    "closed sign-up": f'"POST", "/user/signup", {FORM}, "username=a&password=password-1"',
    "bad path": f'"GET", "/v1/../"{LONG}',
    "wrong method": '"TRACE", "/"',
    "page": '"GET", "/"',
    "preflight": '"OPTIONS", "/user/login", {["Origin"]="https://app.example", ["Access-Control-Request-Method"]="POST"}',
}


def sizes(stack):
    """Bytes of the stack's files by kind."""
    kinds = {"database": 0, "logs": 0}
    for path in pathlib.Path(stack.directory).rglob("*"):
        if path.is_file() and not path.is_socket():
            kind = "database" if path.is_relative_to(stack.state_directory) else "logs"
            kinds[kind] += path.stat().st_blocks * 512 if kind == "database" else path.stat().st_size
    return kinds


def disk(heading):
    heading(f"bytes that a stranger leaves in {SECONDS} s from one address")
    for name, request in WAYS.items():
        settings = {"SIGNUP": "closed", "CORS_ORIGINS": "https://app.example"}
        with Stack(workers=2, limits=True, settings=settings) as stack:
            script = os.path.join(stack.directory, "way.lua")
            pathlib.Path(script).write_text(
                f"request = function() return wrk.format({request}) end\n"
            )
            # What a first request of any kind makes.
            call(stack.url, "GET", "/v1/models", token="wrong", source="127.0.0.2")
            time.sleep(2)
            before = sizes(stack)
            command = ["wrk", "-t1", "-c32", f"-d{SECONDS}", "-s", script, stack.url]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            requests = int(output.split(" requests in")[0].split()[-1])
            time.sleep(2)
            after = sizes(stack)
            grown = {kind: after[kind] - before[kind] for kind in after}
            print(f"{name:22} {requests:8} requests: " + ", ".join(
                f"{kind} {count / 1024:.0f} KiB" for kind, count in grown.items()
            ))


def log_in(stack, name, password, source):
    form = {"username": name, "password": password}
    return call(stack.url, "POST", "/user/login", form=form, source=source, timeout=60).status


def latencies(stack, count):
    times, statuses = [], []
    for _ in range(count):
        began = time.monotonic()
        statuses.append(log_in(stack, "bystander", "password-1", "127.0.0.3"))
        times.append((time.monotonic() - began) * 1000)
    assert set(statuses) == {200}, statuses
    return times


def told(times):
    ordered = sorted(times)
    return f"p50 {statistics.median(ordered):.0f} ms, p99 {ordered[int(len(ordered) * 0.99)]:.0f} ms"


def logins(heading):
    heading("another user's log-ins while 80 password changes and 200 wrong log-ins run")
    with Stack(workers=2) as stack:
        tokens = {name: stack.signup(name, "password-1")[0] for name in ("changer", "guessed", "bystander")}
        print(f"idle: {told(latencies(stack, 60))}")

        def change(_):
            form = {"old_password": "password-1", "new_password": "password-1"}
            path = "/user/password/update"
            return call(stack.url, "POST", path, form=form, token=tokens["changer"], timeout=60).status

        def guess(_):
            return log_in(stack, "guessed", "wrong", "127.0.0.4")

        with concurrent.futures.ThreadPoolExecutor(280) as pool:
            changes = [pool.submit(change, number) for number in range(80)]
            guesses = [pool.submit(guess, number) for number in range(200)]
            times = latencies(stack, 5)
            # For as long as anything of it runs.
            while not all(future.done() for future in changes + guesses):
                times += latencies(stack, 1)
        for name, futures in (("changes", changes), ("guesses", guesses)):
            statuses = [future.result() for future in futures]
            print(name, {status: statuses.count(status) for status in sorted(set(statuses))})
        print(f"meanwhile, {len(times)} log-ins: {told(times)}")

        # The same with changes that never pause.
        stop = threading.Event()

        def go_on(body):
            while not stop.is_set():
                body(0)

        threads = [threading.Thread(target=go_on, args=(body,)) for body in [change] * 8 + [guess] * 8]
        for thread in threads:
            thread.start()
        times = latencies(stack, 60)
        stop.set()
        for thread in threads:
            thread.join()
        print(f"without a pause: {told(times)}")


def fill(path, now):
    """Rows of 800 days, evenly."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")

    def rows():
        for number in range(ROWS):
            moment = now - 800 * DAY + number * 800 * DAY // ROWS
            tail = uuid.uuid4().hex
            head = f"{moment:012x}"
            key = f"{head[:8]}-{head[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"
            yield (key, moment, "forward", tail, "192.0.2.1", "POST", "/v1/chat/completions", 200,
                   1000, tail, "gpt-4", 100, 100, 300, 300, "done", "p")  # fmt: skip

    with connection:
        connection.executemany(
            """INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path, status,
            duration_us, user_id, model, prompt_tokens, completion_tokens, bytes_in, bytes_out, "end",
            process) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)""",
            rows(),
        )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def retention(heading):
    heading(f"writes while half of {ROWS} rows are removed")
    with tempfile.TemporaryDirectory(prefix="proxy-gpt-retention-") as directory:
        with Stack(workers=1, state_directory=directory) as stack:
            stack.signup("writer", "password-1")
        now = int(time.time() * 1000)
        fill(os.path.join(directory, "proxy.db"), now)
        with Stack(workers=1, state_directory=directory) as stack:
            form = {"username": "writer", "password": "password-1"}
            token = call(stack.url, "POST", "/user/login", form=form).json["token"]

            def writes(is_over):
                times, largest = [], 0
                while not is_over(times):
                    began = time.monotonic()
                    assert call(stack.url, "POST", "/chat/create", form={}, token=token).status == 200
                    times.append((time.monotonic() - began) * 1000)
                    largest = max(largest, os.path.getsize(os.path.join(directory, "proxy.db-wal")))
                    time.sleep(0.002)
                return f"{len(times)} writes, {told(times)}, longest {max(times):.0f} ms; WAL {largest >> 20} MiB"

            print("before:", writes(lambda times: len(times) == 1000))
            environment = {"STATE_DIRECTORY": directory, "PATH": os.environ["PATH"]}
            began = time.monotonic()
            command = [binary("proxy-gpt-admin"), "retention"]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            print("meanwhile:", writes(lambda _: process.poll() is not None))
            print(process.stdout.read().strip(), f"{time.monotonic() - began:.0f} s")
