"""A server for clients to be tried with: it cuts, repeats, keeps silent and refuses as a test says."""

import contextlib
import json
import socket
import threading

from client import close_hard

# Ids grow with time, as the server's do.
CHAT, MESSAGE = "chat-1", "message-5"


class Cut(Exception):
    """The connection has carried as many bytes as it may."""


class Asked:
    """A request, and the way to answer it. With `budget` so many bytes of the answer are sent, and then no more."""

    budget = None

    def __init__(self, connection, head, body):
        line, *lines = head.decode().split("\r\n")
        self.connection, self.path = connection, line.split(" ")[1]
        self.line = line
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.fields = json.loads(body)
        self.sent = 0

    def send(self, data):
        left = len(data) if self.budget is None else min(len(data), self.budget - self.sent)
        self.sent += left
        self.connection.sendall(data[:left])
        if left < len(data):
            raise Cut

    def answer(self, value, status=200, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        lines = [f"HTTP/1.1 {status} Any", f"Content-Length: {len(body)}", *headers, "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def refuse(self, status, code, headers=()):
        error = {"message": "No.", "type": "any", "param": None, "code": code}
        self.answer({"error": error}, status, headers)

    def begin_stream(self, retry="retry: 1\n\n"):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        if retry:
            self.text(retry)

    def text(self, text):
        data = text.encode()
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self):
        self.send(b"0\r\n\r\n")

    def wait_until_left(self):
        """Waits until the client closes the connection."""
        with contextlib.suppress(OSError):
            self.connection.recv(1)


class CuttingServer:
    """Serves while the `with` block lasts. `routes` are functions by path; `asked` are all requests."""

    def __init__(self):
        self.routes, self.asked, self.connections = {}, [], 0
        self.resets = False
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def of(self, path):
        return [asked for asked in list(self.asked) if asked.path == path]

    def wait_for(self, path, count=1):
        """Waits for so many requests of a path."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(path)) >= count, 30), f"{path} was not asked for"
        return self.of(path)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.closing(connection), contextlib.suppress(OSError):
            try:
                while asked := self._read(connection):
                    self.routes[asked.path](asked)
            except Cut:
                if self.resets:
                    close_hard(connection)

    def _read(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, body = data.split(b"\r\n\r\n", 1)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        asked = Asked(connection, head, body)
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
        return asked


def message(reply, state, **more):
    """A message as frames and answers have it."""
    return {"id": MESSAGE, "chat_id": CHAT, "user_id": "u", "prompt": "p", "reply": reply, "state": state, **more}


def event(place, reply, state="streaming", name=None, **more):
    """An event with a frame of the message, partial while the state is `streaming`."""
    frame = {"message": message(reply, state, **more), "partial": state == "streaming"}
    first = f"event: {name}\n" if name else ""
    return f"{first}id: {place}\ndata: {json.dumps(frame, ensure_ascii=False)}\n\n"


RESET = 'event: reset\nid: reset-0\ndata: {"reset":true}\n\n'


class Reply:
    """A chat whose next prompt has a reply that is known: the events that stand in the server's log.

    Each connection of the stream begins behind the place that the client names, as the product does it. The first
    ones have the `budgets` that are given, in bytes. `resumed` takes the place of what the second one sends, and there
    is no third one then.
    """

    def __init__(self, server, words, end="done", budgets=(), resumed=None, **more):
        self.words, self.whole = words, "".join(words)
        self.log = [event(f"e-{number}", word) for number, word in enumerate(words, 1)]
        self.log.append(event(f"e-{len(self.log) + 1}", self.whole, end, **more))
        self._server, self._budgets, self._resumed = server, list(budgets), resumed
        self._prompted = threading.Event()
        self.streams = []
        server.routes.update({"/chat/stream": self.stream, "/chat/prompt": self.prompt, "/chat/stop": self.stop})

    def stream(self, asked):
        self.streams.append(asked)
        if self._resumed and len(self.streams) > 2:
            return asked.refuse(404, "not_found")
        if self._budgets:
            asked.budget = self._budgets.pop(0)
        place = asked.headers.get("last-event-id")
        asked.begin_stream()
        if place is None:
            asked.text("id: e-0\n\n")
        assert self._prompted.wait(30)
        if self._resumed and len(self.streams) > 1:
            events = self._resumed
        else:
            events = self.log[int((place or "e-0").split("-")[1]) :]
        for text in events:
            asked.text(text)
        asked.wait_until_left()

    def prompt(self, asked):
        self._prompted.set()
        asked.answer({"message": message("", "streaming"), "reply": ""})

    def stop(self, asked):
        asked.answer({"message": message("", "stopped"), "reply": ""})
