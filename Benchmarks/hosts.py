"""Measures two hosts beside one over PostgreSQL and Redis, and what those two have of the time.

A part of `make bench`; run by bench.py. All of it shares this machine's cores: what two hosts gain is
what one could not use, and the figures say what a host costs the servers that it shares.
"""

import concurrent.futures
import contextlib
import os
import statistics
import time

from chats import Poster
from cluster import Cluster
from databases import TICKS, server_ticks
from redis_server import Redis
from stack import Stack

CALL = {"model": "gpt-4", "messages": [{"role": "user", "content": "Tell me about Spain."}]}
CONNECTIONS = 32


def beside(load, heading, rounds=3, seconds=3):
    """Rates of calls, prompts and reads with one host and with two."""
    heading(
        f"Two hosts beside one, {os.cpu_count()} cores for all, {CONNECTIONS} connections in all: "
        "alternating rounds, medians"
    )
    with contextlib.ExitStack() as open_things:
        server = Cluster("fsync=on", "shared_buffers=128MB")
        open_things.callback(server.close)
        redis = open_things.enter_context(Redis())
        place = (server, server.database("bench"))
        stacks = [
            open_things.enter_context(
                Stack(
                    workers=2, key=None, mock_args=["--no-record"], database=place,
                    settings={"REDIS_ADDRESS": redis.address},
                )
            )
            for _ in range(2)
        ]  # fmt: skip
        token = stacks[0].signup()[0]
        poster = Poster(stacks[0], token)
        chat = poster.post("/chat/create", model="mock")["id"]
        for number in range(20):
            poster.post("/chat/create", name=f"chat {number}")
        calls = (
            ("/v1/chat/completions", CALL),
            ("/chat/prompt", {"id": chat, "prompt": "Tell me about Spain.", "otr": True}),
            ("/chat/index", {"limit": 20}),
        )
        for path, body in calls:
            results = {1: [], 2: []}
            for _ in range(rounds):
                for count, runs in results.items():
                    runs.append(_run(load, stacks[:count], path, token, body, seconds, server, redis))
            for count, runs in results.items():
                rate, p99, of_server, of_redis = (statistics.median(each) for each in zip(*runs))
                print(
                    f"{path:21} {count} host{'s' if count > 1 else ' '}: {rate:6.0f}/s"
                    f"   p99 {p99:6.0f} µs   PostgreSQL {of_server:.2f} cores"
                    f"   Redis {of_redis:.2f} cores"
                )


def _run(load, stacks, path, token, body, seconds, server, redis):
    """Rate, p99, and the cores that both servers used."""
    before, start = (server_ticks(server), redis.ticks()), time.monotonic()

    def one(stack):
        return load(
            stack.url + path, token, body, connections=CONNECTIONS // len(stacks), seconds=seconds
        )

    with concurrent.futures.ThreadPoolExecutor(len(stacks)) as pool:
        runs = list(pool.map(one, stacks))
    spent = (time.monotonic() - start) * TICKS
    return (
        sum(run["rps"] for run in runs),
        max(run["last_byte_us"]["p99"] for run in runs),
        (server_ticks(server) - before[0]) / spent,
        (redis.ticks() - before[1]) / spent,
    )
