"""Clients that use the service while something happens to it, and what they saw."""

import base64
import collections
import json
import os
import re
import struct
import subprocess
import threading
import time
import urllib.parse
import uuid

from client import Load, call, chat, raw_socket
from machine import MOCK, URL, post, rows, token
from sse import Stream
from stack import wait_for


def kind(failure):
    """A status, or in a word how a connection ended."""
    if isinstance(failure, int):
        return str(failure)
    known = {"reset": "Reset|BrokenPipe", "closed": "closed|Remote", "timeout": "Timeout|timed out"}
    return next((word for word, text in known.items() if re.search(text, failure)), failure)


class Callers(Load):
    """Unary calls one after the other on kept connections, each with an id of its own."""

    def __init__(self, threads=8):
        self.run_id = uuid.uuid4().hex[:8]
        super().__init__(URL, token(), threads=threads, numbered=True)

    def _request(self, name):
        return super()._request(f"{self.run_id}-{name}")

    def go_on(self, by=300, cap=60):
        """Waits until so many more were answered."""
        before = self.count
        wait_for(lambda: self.count >= before + by, f"{by} more answers", cap)

    @property
    def seen(self):
        """How often callers saw what, beside 200."""
        return dict(collections.Counter(kind(status) for _, _, status in self.failures))

    def recorded(self):
        """The state of each call's event by its name."""
        length = len(self.run_id) + 1
        found = rows(
            'SELECT request_id, status, "end" FROM events WHERE request_id >= ? AND request_id < ?',
            self.run_id + "-", self.run_id + ".",
        )  # fmt: skip
        return {name[length:]: (status, end) for name, status, end in found}

    def check(self):
        """Every call that was answered has its row, whole."""
        recorded = self.recorded()
        lost = [name for name in self.answered if recorded.get(name) != (200, "done")]
        assert not lost, (len(lost), lost[:3], [recorded.get(name) for name in lost[:3]])
        return f"callers saw {self.seen or 'no failure'} beside {self.count} answers"


class Prompts:
    """Prompts one after the other, each in a chat of its user's; remembers what was acknowledged."""

    def __init__(self, threads=2):
        self.acknowledged, self.failures = [], []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        self._chats = [made_chat("mock") for _ in self._threads]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        number = self._chats[self._threads.index(threading.current_thread())]
        while not self._stopping.is_set():
            prompt = "prompt " + uuid.uuid4().hex
            try:
                answer = post("/chat/prompt", id=number, prompt=prompt)
                status = answer.status
            except OSError as error:
                status = repr(error)
            except Exception as error:
                status = "closed" if "Remote" in repr(error) else repr(error)
            if status == 200:
                self.acknowledged.append((answer.json["message"]["id"], prompt, answer.json["reply"]))
            else:
                self.failures.append(kind(status))
                self._stopping.wait(0.02)

    def check(self):
        stored = {row[0]: row[1:] for row in rows("SELECT id, prompt, reply, state FROM messages")}
        lost = [one for one in self.acknowledged if stored.get(one[0]) != (*one[1:], "done")]
        assert not lost, (len(lost), lost[:3])
        seen = dict(collections.Counter(self.failures))
        return f"{len(self.acknowledged)} prompts stored{f', {seen} beside' if seen else ''}"


def made_chat(model):
    made = post("/chat/create", name="x", model=model).json
    return made["id"] if "id" in made else made["chat"]["id"]


# Long streams


class LongStream:
    """A `/v1` stream of curl's, so long as the model speaks."""

    def __init__(self, model):
        self.process = subprocess.Popen(
            ["curl", "-sN", "-w", "%{http_code} %{errormsg}", f"{URL}/v1/chat/completions",
             "-H", f"Authorization: Bearer {token()}", "-H", "Content-Type: application/json",
             "-d", chat(model, stream=True).decode()],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def is_running(self):
        return self.process.poll() is None

    def check(self):
        text, _ = self.process.communicate(timeout=120)
        assert "data: [DONE]" in text and text.endswith("200 "), text[-300:]


def streams(model, count=4):
    """So many streams, all of which the model has begun to answer."""
    before = in_flight()
    begun = [LongStream(model) for _ in range(count)]
    wait_for(lambda: in_flight() >= before + count, "the streams at the model")
    return begun


def in_flight():
    return call(MOCK, "GET", "/mock/stats").json["in_flight"]


# Watchers of a chat


class Watcher(threading.Thread):
    """Watches a chat by server-sent events, coming back with the last id whenever it is sent away."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self.number, self.stopping = number, False
        self.words, self.end, self.opened, self.last = "", None, 0, None
        # Frames that are lost for good, and connections that were cut without a word.
        self.problems, self.cuts = [], []
        self.stands = threading.Event()

    def run(self):
        while not self.stopping and self.end is None:
            try:
                self.watch()
            except (AssertionError, OSError, EOFError) as error:
                self.cuts.append(repr(error)[:300])

    def watch(self):
        headers = [("Last-Event-ID", self.last)] if self.last else []
        with Stream(URL, self.number, token(), headers=headers) as stream:
            self.opened += 1
            taken = 0
            stream.begin()
            self.stands.set()
            while not stream.ended and self.end is None:
                seen = len(stream.events)
                stream.read(lambda one, seen=seen: len(one.events) > seen or one.ended, 60)
                for event, _, data in stream.events[taken:]:
                    self.take(event == "reset", data)
                taken = len(stream.events)
                self.last = stream.last_id or self.last

    def take(self, is_reset, data):
        if is_reset:
            self.problems.append("reset")
        elif "message" not in data:
            pass
        elif data["partial"]:
            self.words += data["message"]["reply"]
        else:
            self.end = data["message"]["reply"]

    def check(self, cuts=0):
        self.join(90)
        assert self.problems == [] and len(self.cuts) <= cuts, (self.problems, self.cuts)
        assert self.end is not None and self.words == self.end, (self.words, self.end)


class SocketWatcher(Watcher):
    """The same by WebSocket (RFC 6455)."""

    def watch(self):
        query = {"id": self.number} | ({"last_event_id": self.last} if self.last else {})
        self.received = b""
        with raw_socket(URL, timeout=60) as self.socket:
            lines = [
                f"GET /chat/stream?{urllib.parse.urlencode(query)} HTTP/1.1", "Host: 127.0.0.1:8080",
                "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(),
                f"Authorization: Bearer {token()}", "", "",
            ]  # fmt: skip
            self.socket.sendall("\r\n".join(lines).encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self.read(1)
            assert head.startswith(b"HTTP/1.1 101 "), head
            self.opened += 1
            self.stands.set()
            while self.end is None and self.frame():
                pass

    def read(self, count):
        while len(self.received) < count:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError("cut")
            self.received += piece
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def frame(self):
        """Takes one frame; false after the one that says goodbye."""
        code, length = self.read(2)
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(self.read(size), "big")
        data = self.read(length)
        if code & 15 == 9:
            self.send(10, data)
        elif code & 15 == 8:
            assert struct.unpack("!H", data[:2]) == (1012,), data
            self.send(8, data)
            return False
        else:
            frame = json.loads(data)
            self.take(bool(frame.get("reset")), frame)
            self.last = frame.get("event_id") or self.last
        return True

    def send(self, code, data):
        """A frame under the mask of zeros, which is one."""
        self.socket.sendall(bytes([0x80 | code, 0x80 | len(data), 0, 0, 0, 0]) + data)


class Audience:
    """A chat with a running reply, and its subscribers."""

    def __init__(self, model, by_events=3, by_socket=2):
        self.number = made_chat(model)
        self.watchers = [Watcher(self.number) for _ in range(by_events)]
        self.watchers += [SocketWatcher(self.number) for _ in range(by_socket)]
        for watcher in self.watchers:
            watcher.start()
        for watcher in self.watchers:
            assert watcher.stands.wait(15), watcher.cuts
        prompted = post("/chat/prompt", id=self.number, prompt="hello", stream=True)
        assert prompted.status == 200, prompted

    def check(self, cuts=0):
        """Every word came once, to each; connections may have been cut so often."""
        for watcher in self.watchers:
            watcher.check(cuts)
        assert post("/chat/delete", id=self.number).status == 200
        return max(watcher.opened for watcher in self.watchers)


LONG = "mock?chunks=75&chunk-delay-ms=200"


def under_load(body):
    """Calls `body` under unary calls, long streams of /v1 and a watched chat; nothing is lost."""
    with Callers() as callers:
        callers.go_on()
        audience, long = Audience(LONG), streams(LONG)
        began = time.monotonic()
        said = body()
        took = time.monotonic() - began
        # Not a check of how long it may take: the calls have been there all the while.
        callers.go_on(500)
        for stream in long:
            stream.check()
    assert callers.failures == [], callers.failures[:5]
    callers.check()
    opened = audience.check()
    return (
        f"{said or ''} in {took:.0f} s: {callers.count} calls and 4 streams of 15 s, none failed; "
        f"5 watchers, 2 of them by WebSocket, {opened} times connected, no word lost"
    )
