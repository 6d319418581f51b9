"""Measures PostgreSQL beside SQLite: the same calls on two stacks, in alternating rounds.

A part of `make bench`; run by bench.py.
"""

import contextlib
import os
import statistics
import tempfile
import time

from chats import Poster
from cluster import Cluster
from stack import Stack

CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "Tell me about Spain."}]}
TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def place_on_disk(name, purpose):
    """Arguments of `Stack`: a state directory, and a database as `name` says, which waits for the disk."""
    with contextlib.ExitStack() as held:
        directory = held.enter_context(tempfile.TemporaryDirectory(prefix=f"proxy-gpt-{purpose}-"))
        database = "sqlite"
        if name == "postgresql":
            server = Cluster("fsync=on", "max_wal_size=4GB")
            held.callback(server.close)
            database = (server, server.database(directory))
        yield {"state_directory": directory, "database": database}


def beside(load, heading, rounds=3, seconds=3):
    """Rates of reads, writes and forwarded calls, and how much of the time the server had."""
    heading("PostgreSQL beside SQLite, two workers, durable: alternating rounds, medians")
    with contextlib.ExitStack() as open_things:
        server = Cluster("fsync=on", "shared_buffers=128MB")
        open_things.callback(server.close)
        stacks, tokens = {}, {}
        for name, database in (
            ("SQLite", "sqlite"),
            ("PostgreSQL", (server, server.database("bench"))),
        ):
            stack = Stack(
                workers=2, key=None, mock_args=["--no-record"], streamer=False, database=database
            )
            stacks[name] = open_things.enter_context(stack)
            tokens[name] = stack.signup()[0]
            poster = Poster(stack, tokens[name])
            for number in range(20):
                poster.post("/chat/create", name=f"chat {number}")
        calls = (
            ("/chat/index", {"limit": 20}),
            ("/chat/create", {"name": "chat"}),
            ("/v1/chat/completions", CHAT),
        )
        for connections in (16, 64):
            for path, body in calls:
                results = {name: [] for name in stacks}
                shares = {name: [] for name in stacks}
                for _ in range(rounds):
                    for name, stack in stacks.items():
                        before, start = server_ticks(server), time.monotonic()
                        results[name].append(
                            load(
                                stack.url + path, tokens[name], body, connections=connections,
                                seconds=seconds,
                            )  # fmt: skip
                        )
                        used = (server_ticks(server) - before) / TICKS
                        shares[name].append(used / (time.monotonic() - start))
                for name, runs in results.items():
                    rate = statistics.median(run["rps"] for run in runs)
                    p50 = statistics.median(run["last_byte_us"]["p50"] for run in runs)
                    p99 = statistics.median(run["last_byte_us"]["p99"] for run in runs)
                    share = statistics.median(shares[name])
                    print(
                        f"{connections:3} connections, {path:21} {name:10}: {rate:6.0f}/s"
                        f"   p50 {p50:6.0f} µs   p99 {p99:6.0f} µs"
                        + (f"   server {share:.2f} cores" if name == "PostgreSQL" else "")
                    )


def server_ticks(server):
    """Processor time of the server's processes, those that have ended included."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{entry}/cwd").startswith(server.directory):
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
    return total
