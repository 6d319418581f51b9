"""Measures chats: reads and writes on SQLite, and what a long history costs.

Parts of `make bench`; run by bench.py.
"""

import contextlib
import json
import sqlite3
import statistics
import time
import urllib.parse

from client import connect, send
from stack import Stack

# What PocketBase publishes of itself (github.com/pocketbase/benchmarks), on other hardware.
POCKETBASE = {"reads": 2640, "writes": 2060}
FORM = [("Content-Type", "application/x-www-form-urlencoded")]


def rates(load, heading):
    heading("Chats on SQLite, two workers, 16 connections: session check and event row on")
    with Stack(workers=2) as stack:
        token, _ = stack.signup()
        poster = Poster(stack, token)
        for number in range(20):
            poster.post("/chat/create", name=f"chat {number}")
        sides = {
            "reads": (stack.url + "/chat/index", {"limit": 20}),
            "writes": (stack.url + "/chat/create", {"name": "chat"}),
        }
        results = {name: [] for name in sides}
        for _ in range(3):
            for name, (url, body) in sides.items():
                results[name].append(load(url, token, body, connections=16, seconds=3))
        for name, runs in results.items():
            rate = statistics.median(run["rps"] for run in runs)
            p99 = statistics.median(run["last_byte_us"]["p99"] for run in runs)
            published = POCKETBASE[name]
            print(
                f"{name:7}: {rate:6.0f}/s, p99 {p99:6.0f} µs"
                f"   (PocketBase publishes {published}/s, on other hardware)"
            )


def history(heading, rounds=200):
    heading("A chat of 100,000 messages beside one of 100: alternating calls, medians")
    with Stack(workers=1) as stack:
        token, _ = stack.signup()
        poster = Poster(stack, token)
        chats = {count: poster.post("/chat/create")["id"] for count in (100, 100_000)}
        for process in list(stack.workers):
            stack.stop_worker(process)
        fill(stack.database, chats)
        stack.start_worker()
        calls = {
            "/chat/read, last page of 50": ("/chat/read", {"limit": 50}),
            "/chat/prompt": ("/chat/prompt", {"prompt": "hello"}),
        }
        for name, (path, form) in calls.items():
            times = {count: [] for count in chats}
            for _ in range(rounds):
                for count, chat in chats.items():
                    start = time.perf_counter()
                    poster.post(path, id=chat, **form)
                    times[count].append((time.perf_counter() - start) * 1e6)
            few, many = (statistics.median(times[count]) for count in chats)
            print(f"{name:28}: {few:5.0f} µs and {many:5.0f} µs, ratio {many / few:.2f}")


def fill(path, chats):
    """Puts so many ended messages into each chat. Nobody else has the database open."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        user = database.execute("SELECT id FROM users").fetchone()[0]
        for count, chat in chats.items():
            database.executemany(
                "INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model, state,"
                " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 'mock', 'done', 0, 0)",
                (
                    (f"{chat}-{seq}", chat, seq, user, "tell me about spain", "word " * 40)
                    for seq in range(1, count + 1)
                ),
            )
            database.execute("UPDATE chats SET last_message_seq = ? WHERE id = ?", (count, chat))


class Poster:
    """One user on one kept connection."""

    def __init__(self, stack, token):
        self.connection, self.token = connect(stack.url), token

    def post(self, path, **form):
        body = urllib.parse.urlencode(form).encode()
        send(self.connection, "POST", path, body, FORM, self.token)
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {text[:300]!r}")
        return json.loads(text)
