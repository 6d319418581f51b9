"""HTTP/1.1 and server-sent events as values: bytes in, what they mean out, no input or output.

Knows nothing of the API. Limits keep a hostile server from filling the memory.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

HEAD_LIMIT = 256 * 1024
EVENT_LIMIT = 64 * 1024 * 1024


class ProtocolError(Exception):
    """Bytes that are no HTTP, or not all of an answer."""


class Address(NamedTuple):
    """Where the server is, and the path before those of the API."""

    is_tls: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("The base address must begin with http:// or https:// and name a host.")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("The base address must have no credential, no query and no fragment.")
        if not re.fullmatch(r"[\x21-\x7e]*", url):
            raise ValueError("The base address must consist of printing ASCII characters.")
        is_tls = parts.scheme == "https"
        return cls(is_tls, parts.hostname, parts.port or (443 if is_tls else 80), parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.authority}{self.path}"


class Request(NamedTuple):
    """A call of the API: all are POST requests with a JSON body."""

    path: str
    fields: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}

    def encoded(self, address: Address, headers: Mapping[str, str]) -> bytes:
        body = json.dumps(self.fields).encode()
        lines = {
            "Host": address.authority,
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
            **self.headers,
        }
        for name, value in lines.items():
            if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value):
                raise ValueError(f"The header {name} cannot hold this value.")
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {address.path}{self.path} HTTP/1.1\r\n{text}\r\n".encode("ascii") + body


class ResponseReader:
    """Reads one answer, split wherever it is. `status` is 0 until the head is there."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Dict[str, str] = {}
        self.is_complete = False
        self._bytes = b""
        self._left: Optional[int] = None
        self._is_chunked = False
        self._is_in_trailer = False
        self._is_persistent = False

    @property
    def can_reuse(self) -> bool:
        """Whether the connection may carry another request."""
        is_delimited = self._is_chunked or "content-length" in self.headers
        return self.is_complete and is_delimited and not self._bytes and self._is_persistent

    def receive(self, data: bytes) -> bytes:
        """Takes bytes, none at the end of the connection; what they hold of the body."""
        self._bytes += data
        if not self.status and not self._read_head():
            if not data:
                raise ProtocolError("the connection was closed before an answer")
            return b""
        body = self._chunks() if self._is_chunked else self._plain()
        if not data and not self.is_complete:
            if self._is_chunked or self._left is not None:
                raise ProtocolError("the connection was closed in the middle of an answer")
            self.is_complete = True
        return body

    def _read_head(self) -> bool:
        while True:
            end = re.search(rb"\r?\n\r?\n", self._bytes)
            if not end:
                if len(self._bytes) > HEAD_LIMIT:
                    raise ProtocolError("the head of the answer is too large")
                return False
            head, self._bytes = self._bytes[: end.start()].decode("latin-1"), self._bytes[end.end() :]
            first, *lines = re.split(r"\r?\n", head)
            match = re.fullmatch(r"HTTP/1\.([01]) (\d{3})( .*)?", first)
            if not match:
                raise ProtocolError("the answer is no HTTP")
            status = int(match[2])
            # Answers of 1xx come before the one that counts.
            if status >= 200:
                break
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ProtocolError("a header of the answer has no value")
            self.headers.setdefault(name.lower(), value.strip())
        self.status = status
        self._is_persistent = match[1] == "1" and "close" not in self.headers.get("connection", "").lower()
        self._is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        if status in (204, 304):
            self._left = 0
        elif length is not None and not self._is_chunked:
            if not re.fullmatch(r"[0-9]{1,18}", length):
                raise ProtocolError("the length of the answer is no number")
            self._left = int(length)
        elif self._is_chunked:
            self._left = 0
        return True

    def _plain(self) -> bytes:
        if self._left is None:
            body, self._bytes = self._bytes, b""
            return body
        body, self._bytes = self._bytes[: self._left], self._bytes[self._left :]
        self._left -= len(body)
        self.is_complete = self._left == 0
        return body

    def _chunks(self) -> bytes:
        pieces: List[bytes] = []
        while not self.is_complete:
            if self._left:
                piece, self._bytes = self._bytes[: self._left], self._bytes[self._left :]
                pieces.append(piece)
                self._left -= len(piece)
                if self._left:
                    break
                # The line end behind a chunk is read as an empty line before the next size.
            line, end, rest = self._bytes.partition(b"\n")
            if not end:
                if len(line) > HEAD_LIMIT:
                    raise ProtocolError("a line of the answer is too long")
                break
            self._bytes = rest
            line = line.rstrip(b"\r")
            if self._is_in_trailer:
                self.is_complete = not line
            elif line:
                size = line.partition(b";")[0].strip()
                if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
                    raise ProtocolError("the size of a chunk is no number")
                self._left = int(size, 16)
                self._is_in_trailer = self._left == 0
        return b"".join(pieces)


class Event(NamedTuple):
    """A server-sent event; `data` is None for one that has an id alone."""

    name: str
    id: Optional[str]
    data: Optional[str]

    @property
    def is_frame(self) -> bool:
        """Whether it is a message, and not of a kind that a later server may have."""
        return self.name == "message" and self.data is not None


class EventReader:
    """Reads server-sent events (WHATWG HTML, section 9.2), split wherever they are."""

    def __init__(self) -> None:
        # The seconds after which the server wants a client to come back.
        self.retry: Optional[float] = None
        self._bytes = b""
        self._skips_line_feed = False
        self._name = ""
        self._id: Optional[str] = None
        self._data: List[str] = []
        self._size = 0

    def receive(self, data: bytes) -> Tuple[List[Event], bool]:
        """Takes bytes: the events that are complete with them, and whether there was an event or a comment."""
        events: List[Event] = []
        is_alive = False
        for line in self._lines(data):
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if not line:
                if self._data or self._id is not None:
                    is_alive = True
                    text = "\n".join(self._data) if self._data else None
                    events.append(Event(self._name or "message", self._id, text))
                self._name, self._id, self._data, self._size = "", None, [], 0
            elif name == "retry":
                if value.isascii() and value.isdigit():
                    self.retry = int(value[:9]) / 1000
            elif name == "data":
                self._data.append(value)
                self._size += len(value)
            elif name == "event":
                self._name = value
            elif name == "id" and "\0" not in value:
                self._id = value
            elif not name:
                is_alive = True
            if self._size > EVENT_LIMIT:
                raise ProtocolError("an event is too large")
        return events, is_alive

    def _lines(self, data: bytes) -> List[str]:
        if self._skips_line_feed and data:
            data = data[1:] if data.startswith(b"\n") else data
            self._skips_line_feed = False
        # A line ends with CR, LF or both; the LF of one that was split belongs to the CR before it.
        self._bytes += data
        if len(self._bytes) > EVENT_LIMIT:
            raise ProtocolError("an event is too large")
        if b"\n" not in data and b"\r" not in data:
            return []
        self._skips_line_feed = self._bytes.endswith(b"\r")
        *lines, self._bytes = re.split(rb"\r\n|\n|\r", self._bytes)
        return [line.decode("utf-8", "replace") for line in lines]
