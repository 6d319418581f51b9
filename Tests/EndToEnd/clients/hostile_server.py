"""A server that does to a client whatever a test has written: it cuts, resets, repeats and keeps silent.

Each request is a connection of its own and runs the test's handler in a thread of its own. `Chat` is a handler for
one streamed reply, whose connections end where the test says. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

CAP = 30


class Gone(Exception):
    """The client has closed its connection."""


class Exchange:
    """One request, and what is sent in answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(CAP)
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += self._receive()
        head, body = raw.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(body) < int(self.headers.get("content-length", "0")):
            body += self._receive()
        self.fields: dict[str, Any] = json.loads(body or b"{}")

    def _receive(self) -> bytes:
        try:
            piece = self.socket.recv(65536)
        except OSError as error:
            raise Gone from error
        if not piece:
            raise Gone
        return piece

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def answer(self, status: int, body: object, **headers: str) -> None:
        """A whole answer; a `body` that is no text becomes JSON."""
        kind = "text/html" if isinstance(body, str) else "application/json"
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        fields = {"Content-Type": kind, "X-Request-Id": "request-1", "Connection": "close"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in fields.items())]
        self.send("\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data)

    def refuse(self, status: int, code: str, message: str = "No.", **headers: str) -> None:
        error = {"message": message, "type": "error", "code": code, "param": None}
        self.answer(status, {"error": error}, **headers)

    def begin_stream(self, kind: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        self.send(head.encode())

    def chunk(self, data: bytes) -> None:
        if data:
            self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_chunks(self) -> None:
        """The stream's own end, as a server writes it that stops in good order."""
        self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        """Closes the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def await_close(self) -> None:
        """Returns when the client has closed the connection."""
        with contextlib.suppress(Gone):
            while True:
                self._receive()


class HostileServer:
    """Runs `handler` for each request until the `with` block ends; keeps all requests, in order."""

    def __init__(self, handler: Callable[[Exchange], None]) -> None:
        self.requests: list[Exchange] = []
        self.problems: list[Exception] = []
        self._handler = handler
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> HostileServer:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(CAP)
        self._listener.close()
        if kind is None and self.problems:
            raise self.problems[0]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(Gone):
            exchange = Exchange(connection)
            with self._lock:
                self.requests.append(exchange)
            try:
                self._handler(exchange)
            except Gone:
                raise
            except Exception as error:
                self.problems.append(error)

    def asked(self, path: str) -> list[Exchange]:
        """The requests for a path so far."""
        with self._lock:
            return [request for request in self.requests if request.path == path]


def event(data: object = None, id: str | None = None, name: str | None = None) -> bytes:
    """One server-sent event."""
    lines = [f"event: {name}"] if name else []
    lines += [f"id: {id}"] if id else []
    lines += ["data: " + json.dumps(data, ensure_ascii=False)] if data is not None else []
    return ("\n".join(lines) + "\n\n").encode()


RESET = event({"reset": True}, "reset-0", "reset")


class Chat:
    """A chat with one message, whose reply is streamed as `/chat/stream` of the product does.

    `connection(number)` is asked for each subscription: how many bytes it sends, and how it ends ("end", "close",
    "reset"), or None for all. `resumption` is what a client gets that comes back: "log", the frames after its id;
    "reset", a reset and the message as it stands.
    """

    def __init__(
        self,
        id: str,
        deltas: list[str],
        connection: Callable[[int], tuple[int, str] | None] = lambda number: None,
        resumption: str = "log",
        state: str = "done",
        error: dict[str, str] | None = None,
    ) -> None:
        self.id, self.deltas, self.resumption = id, deltas, resumption
        self.connection = connection
        self.subscriptions: list[str] = []
        self.prompts: list[Exchange] = []
        self.stops: list[dict[str, Any]] = []
        self.is_prompted = threading.Event()
        self._lock = threading.Lock()
        self.reply = "".join(deltas)
        self.message = {
            "id": f"message-of-{id}", "chat_id": id, "user_id": "user", "username": "ada", "group_id": None,
            "prompt": "Hello", "reply": "", "model": "mock", "otr": False, "state": "streaming", "error": None,
            "usage": None, "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        self.end = self.message | {"reply": self.reply, "state": state, "error": error}

    def partial(self, text: str) -> dict[str, Any]:
        names = ("id", "chat_id", "user_id", "prompt")
        message = {name: self.message[name] for name in names} | {"reply": text, "state": "streaming"}
        return {"message": message, "partial": True}

    def last(self) -> dict[str, Any]:
        return {"message": self.end, "partial": False}

    def log(self) -> list[tuple[str, bytes]]:
        """The frames after the prompt with their ids; the message of another prompt is among them."""
        other = {"message": {**self.partial("not ours")["message"], "id": "another"}, "partial": True}
        frames = [self.partial(""), other, *(self.partial(delta) for delta in self.deltas), self.last()]
        log = [(f"e-{number}", event(frame, f"e-{number}")) for number, frame in enumerate(frames, 2)]
        return [(id, b": keep-alive\n" + data if id == "e-3" else data) for id, data in log]

    def frames_after(self, id: str) -> Iterator[bytes]:
        """What a subscription sends, the prompt being awaited where frames of its reply follow."""
        yield b"retry: 1\n\n"
        log = self.log()
        if id in ("", "e-1"):
            yield event(None, "e-1")
            self.is_prompted.wait(CAP)
            yield from (frame for _, frame in log)
        elif self.resumption == "log":
            yield from (frame for at, frame in log if int(at[2:]) > int(id[2:]))
        elif self.resumption == "reset while it runs":
            # Nearly all of the reply in one frame, from its beginning, then the rest.
            yield RESET
            yield event(self.partial("".join(self.deltas[:-1])), "e-90")
            yield event(self.partial(self.deltas[-1]), "e-91")
            yield event(self.last(), "e-92")
        else:
            # The store's final frame, which repeats the id of the one before.
            yield RESET
            yield event(self.last(), "reset-0")
            yield event(self.last(), "e-92")

    def handle(self, exchange: Exchange) -> None:
        if exchange.path == "/chat/prompt":
            self.prompts.append(exchange)
            exchange.answer(200, {"message": self.message, "reply": ""})
            self.is_prompted.set()
        elif exchange.path == "/chat/read":
            exchange.answer(200, {"messages": [self.message], "has_more": False})
        elif exchange.path == "/chat/stop":
            self.stops.append(exchange.fields)
            exchange.answer(200, {"message": self.end | {"state": "stopped"}, "reply": self.reply})
        else:
            self._stream(exchange)

    def _stream(self, exchange: Exchange) -> None:
        with self._lock:
            number = len(self.subscriptions)
            self.subscriptions.append(exchange.fields.get("last_event_id") or "")
        given = self.connection(number)
        left, ending = given or (1 << 40, "")
        exchange.begin_stream()
        for frame in self.frames_after(self.subscriptions[number]):
            exchange.chunk(frame[:left])
            left -= len(frame)
            if left <= 0:
                break
        if ending == "end":
            exchange.end_chunks()
        elif ending == "reset":
            exchange.reset()
        elif not ending:
            exchange.await_close()
