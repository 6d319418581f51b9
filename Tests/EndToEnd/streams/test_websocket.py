"""Whether `/chat/stream` is a WebSocket server as RFC 6455 has it, through nginx.

Cases in the order of the protocol: framing, pings, reserved bits and opcodes, fragments, UTF-8,
closing, sizes. Each sends raw bytes and says what must come back: a pong that shows that the
connection lives, or a close with a code. One client that is not ours reads along (wsproto).
"""

import base64
import contextlib
import os
import struct

import pytest
from client import call, raw_socket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Pong, Request

DATABASES = ("sqlite", "postgresql+redis")

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LIVES = "lives"


@pytest.fixture(scope="module")
def target(stack, token):
    answer = call(stack.url, "POST", "/chat/create", token=token, form={"name": "frames"})
    return f"/chat/stream?id={answer.json['id']}&token={token}"


def frame(opcode, payload=b"", final=True, reserved=0, masked=True, length=None):
    """A client's frame; `length` is the form of its length, in bytes, where it is not the shortest."""
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit, size = (0x80 if masked else 0), len(payload)
    if length is None:
        length = 0 if size < 126 else 2 if size < 65536 else 8
    if length == 0:
        head += bytes([bit | size])
    else:
        head += bytes([bit | (126 if length == 2 else 127)])
        head += struct.pack("!H" if length == 2 else "!Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))


def close(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class Socket:
    """A WebSocket after its handshake, frame by frame."""

    def __init__(self, stack, target):
        self._socket = raw_socket(stack.url, timeout=15)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\n"
            f"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
        )
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            piece = self._socket.recv(4096)
            assert piece, self._data
            self._data += piece
        head, self._data = self._data.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"sec-websocket-extensions" not in head.lower(), "no compression is offered"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, data, piece=None, tail=b""):
        """Sends it at once, or in pieces of that many bytes, the last one together with `tail`."""
        size = piece or len(data) or 1
        # A server that has seen enough may be gone before the last byte.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for at in range(0, len(data), size):
                end = tail if at + size >= len(data) else b""
                self._socket.sendall(data[at : at + size] + end)

    def _take(self, count):
        while len(self._data) < count:
            try:
                piece = self._socket.recv(65536)
            except ConnectionResetError:
                # Our answer to a close that was an answer already.
                piece = b""
            if not piece:
                raise EOFError
            self._data += piece
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def receive(self):
        """The next frame: (opcode, payload)."""
        first, second = self._take(2)
        assert first & 0x70 == 0 and first & 0x80, "a server's frames here are whole and plain"
        assert second & 0x80 == 0, "a server does not mask"
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return first & 0x0F, self._take(size)

    def lives(self):
        mark = os.urandom(8)
        self.send(frame(PING, mark))
        assert self.receive() == (PONG, mark)

    def closed(self):
        """The code of the server's close, None without one; the connection ends after it."""
        opcode, payload = self.receive()
        assert opcode == CLOSE, (opcode, payload)
        if payload:
            payload[2:].decode()
            # The client answers the close, and then the server hangs up.
            self.send(close(1000))
        with pytest.raises(EOFError):
            self.receive()
        return struct.unpack("!H", payload[:2])[0] if payload else None


GOOD = "κόσμε 𝄞 ﷐ \U0010ffff \ud7ff\ue000".encode()
BAD = [
    b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xed\xa0\x80",
    b"\xed\xbf\xbf", b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80",
    b"\xfe", b"\xff", b"\xc2", b"\xe2\x82", b"\xf0\x9d\x84", b"\xce\xba\xe1\xbdA", b"a\xc2b",
]  # fmt: skip

CASES = {}


def case(name, data, expected, tail=b""):
    assert name not in CASES, name
    CASES[name] = (data, expected, tail)


for size in (0, 1, 125, 126, 127, 128, 65_535, 65_536):
    case(f"text of {size} bytes", frame(TEXT, b"*" * size), LIVES)
    case(f"binary of {size} bytes", frame(BINARY, b"\xfe" * size), LIVES)
case("a message too large", frame(BINARY, bytes(65_537)), 1009)
half = bytes(40_000)
case("fragments too large", frame(BINARY, half, False) + frame(CONTINUATION, half), 1009)
case("the largest length there is", bytes([0x82, 0xFF]) + b"\x7f" + b"\xff" * 7, 1009)
case("a length of 16 bits that fits 7", frame(TEXT, b"a", length=2), 1002)
case("a length of 64 bits that fits 7", frame(TEXT, b"a", length=8), 1002)
case("a length of 64 bits that fits 16", frame(TEXT, b"a" * 65_535, length=8), 1002)
case("a length with the highest bit", bytes([0x82, 0xFF, 0x80]) + bytes(7), 1002)
case("no mask", frame(TEXT, b"a", masked=False), 1002)
case("a ping too long", frame(PING, bytes(126)), 1002)
case("a ping in fragments", frame(PING, b"a", False), 1002)
case("a close too long", close(1000, b"a" * 124), 1002)
case("a pong nobody asked for", frame(PONG, b"a"), LIVES)
for bits in range(1, 8):
    case(f"reserved bits {bits} of text", frame(TEXT, b"a", reserved=bits), 1002)
    case(f"reserved bits {bits} of a ping", frame(PING, b"a", reserved=bits), 1002)
for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    case(f"reserved opcode {opcode}", frame(opcode, b"a"), 1002)
begun, more, ended = frame(TEXT, b"a", False), frame(0, b"b", False), frame(0, b"c")
case("fragments", begun + more + more + ended, LIVES)
case("empty fragments", frame(TEXT, b"", False) + frame(0, b"", False) + frame(0), LIVES)
case("a continuation of nothing", ended, 1002)
case("a fragment of nothing", more, 1002)
case("text within text", begun + frame(TEXT, b"d"), 1002)
case("binary within text", begun + frame(BINARY, b"d"), 1002)
case("a continuation after the end", begun + ended + ended, 1002)
case("text as UTF-8", frame(TEXT, GOOD), LIVES)
for at in range(1, len(GOOD)):
    data = frame(TEXT, GOOD[:at], False) + frame(0, GOOD[at:])
    case(f"UTF-8 split at {at}", data, LIVES)
one_each = [frame(TEXT if at == 0 else 0, GOOD[at : at + 1], False) for at in range(len(GOOD))]
case("UTF-8 split at every byte", b"".join(one_each) + frame(0), LIVES)
for bad in BAD:
    case(f"no UTF-8: {bad.hex()}", frame(TEXT, bad), 1007)
    case(f"no UTF-8 in a fragment: {bad.hex()}", begun + frame(0, bad), 1007)
    case(f"binary: {bad.hex()}", frame(BINARY, bad), LIVES)
case("no UTF-8 before the frame is whole", frame(TEXT, b"a\xff" + b"a" * 60)[:20], 1007)
for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999):
    case(f"close with {code}", close(code, b"bye"), code)
for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
    case(f"close with {code}", close(code), 1002)
case("close with nothing", close(), None)
case("close with half a code", frame(CLOSE, b"\x03"), 1002)
case("close with the longest reason", close(1000, b"a" * 123), 1000)
case("close with a reason that is no UTF-8", close(1000, b"\xce\xba\xff"), 1007)
# What comes later, at a connection that is closed, resets it and takes the unread answer along.
case("nothing counts after a close", close(1000), 1000, tail=frame(PING, b"a") + frame(3))


@pytest.mark.parametrize("name", CASES)
def test_case(stack, target, name):
    data, expected, tail = CASES[name]
    pieces = (None, 1) if len(data) < 300 else (None, 977)
    for piece in pieces:
        with Socket(stack, target) as socket:
            socket.send(data, piece, tail)
            if expected is LIVES:
                socket.lives()
            else:
                assert socket.closed() == expected


def test_pings_are_answered_in_order_with_what_they_carried(stack, target):
    with Socket(stack, target) as socket:
        payloads = [b"", b"a", bytes(range(125)), b"\xff\xfe", *(b"%d" % n for n in range(50))]
        socket.send(b"".join(frame(PING, payload) for payload in payloads))
        assert [socket.receive() for _ in payloads] == [(PONG, payload) for payload in payloads]
        socket.send(begun + frame(PING, b"between") + ended)
        assert socket.receive() == (PONG, b"between")
        socket.lives()


def test_a_client_of_another_hand_understands_it(stack, target):
    with raw_socket(stack.url) as connection:
        peer = WSConnection(ConnectionType.CLIENT)
        connection.sendall(peer.send(Request(host="localhost", target=target)))

        def events():
            while True:
                peer.receive_data(connection.recv(65536) or None)
                yield from peer.events()

        coming = events()
        assert isinstance(next(coming), AcceptConnection)
        connection.sendall(peer.send(Ping(b"here")))
        pong = next(coming)
        assert isinstance(pong, Pong) and bytes(pong.payload) == b"here"
        connection.sendall(peer.send(CloseConnection(code=1001, reason="going")))
        closed = next(coming)
        assert isinstance(closed, CloseConnection) and closed.code == 1001
