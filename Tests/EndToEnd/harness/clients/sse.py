"""A client of server-sent events on a plain socket, which sees every byte as it comes.

Understands chunked bodies, because nginx makes them, and nothing else of HTTP.
"""

import json
import time
import urllib.parse

import observers
from client import raw_socket

CAP = 60


class Stream:
    """One subscription. `events` are (event, id, data) in the order in which they came.

    `token` goes into a header, `parameter` into the query, as a browser has to send it.
    """

    def __init__(
        self,
        url,
        chat=None,
        token=None,
        method="GET",
        headers=(),
        body=b"",
        parameter=None,
        **query,
    ):
        self.last_id = None
        self.events, self.comments, self.retries = [], 0, []
        self.ended = False
        self._lines, self._raw = b"", b""
        self._event, self._data, self._id = "message", [], None
        if chat:
            query["id"] = chat
        if parameter:
            query["token"] = parameter
        text = "?" + urllib.parse.urlencode(query) if query else ""
        lines = [f"{method} /chat/stream{text} HTTP/1.1", "Host: " + url.split("//")[1]]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.socket = raw_socket(url)
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        self._read_head()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def _read_head(self):
        while b"\r\n\r\n" not in self._raw:
            piece = self.socket.recv(65536)
            assert piece, f"closed before the head: {self._raw!r}"
            self._raw += piece
        head, self._raw = self._raw.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        self.status = int(status.split(" ")[1])
        self.headers = {name.lower(): value for name, value in (l.split(": ", 1) for l in lines)}
        if self.headers.get("transfer-encoding") != "chunked":
            raise AssertionError(f"no stream: {head} {self._raw}")

    def _unchunk(self):
        """Takes whole chunks off what was read; true at the last one."""
        while b"\r\n" in self._raw:
            size, rest = self._raw.split(b"\r\n", 1)
            count = int(size, 16)
            if len(rest) < count + 2:
                return False
            self._lines += rest[:count]
            self._raw = rest[count + 2 :]
            if count == 0:
                return True
        return False

    def _parse(self):
        while b"\n" in self._lines:
            line, self._lines = self._lines.split(b"\n", 1)
            name, _, value = line.decode().partition(":")
            value = value.removeprefix(" ")
            if not line:
                # An id without data is remembered and is no event.
                if self._id is not None:
                    self.last_id = self._id
                if self._data:
                    data = json.loads("\n".join(self._data))
                    observers.event(self._event, data)
                    self.events.append((self._event, self._id, data))
                self._event, self._data, self._id = "message", [], None
            elif not name:
                self.comments += 1
            elif name == "data":
                self._data.append(value)
            elif name == "event":
                self._event = value
            elif name == "id":
                self._id = value
            elif name == "retry":
                self.retries.append(int(value))

    def read(self, until, cap=CAP):
        """Reads until `until(self)` is true; an error when that takes too long or the end comes."""
        end = time.monotonic() + cap
        while True:
            self.ended = self._unchunk() or self.ended
            self._parse()
            if until(self):
                return self
            assert not self.ended, f"ended early, after {self.events}"
            left = end - time.monotonic()
            assert left > 0, f"waited {cap} s in vain, after {self.events}"
            self.socket.settimeout(left)
            try:
                piece = self.socket.recv(65536)
            except TimeoutError:
                continue
            except ConnectionResetError:
                piece = b""
            self._raw += piece
            self.ended = self.ended or not piece

    def begin(self):
        """Reads until the subscription stands: an id to resume from has come."""
        return self.read(lambda stream: stream.last_id is not None)

    def end(self, cap=CAP):
        """Reads to the end of the stream."""
        return self.read(lambda stream: stream.ended, cap)

    def finished(self, count=1):
        """Reads until so many messages have ended; their last frames."""
        self.read(lambda stream: len(stream.ends) >= count)
        return self.ends

    @property
    def frames(self):
        return [data for event, _, data in self.events if event == "message"]

    @property
    def ends(self):
        return [frame["message"] for frame in self.frames if not frame["partial"]]

    @property
    def ids(self):
        return [id for _, id, _ in self.events]

    def words(self, message):
        """The partial frames of a message, joined."""
        return "".join(
            frame["message"]["reply"]
            for frame in self.frames
            if frame["partial"] and frame["message"]["id"] == message
        )
