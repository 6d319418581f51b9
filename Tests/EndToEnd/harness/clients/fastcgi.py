"""A FastCGI client that talks to a worker without nginx, one request on a connection."""

import socket
import struct

from client import Answer

BEGIN, PARAMS, STDIN, STDOUT, END = 1, 4, 5, 6, 3


def record(kind, content=b"", request=1):
    return struct.pack("!BBHHBB", 1, kind, request, len(content), 0, 0) + content


def _length(number):
    return bytes([number]) if number < 128 else struct.pack("!I", number | 0x80000000)


def parameters(values):
    pairs = b""
    for name, value in values.items():
        name, value = name.encode(), str(value).encode("latin-1")
        pairs += _length(len(name)) + _length(len(value)) + name + value
    return pairs


def request_bytes(method, uri, token=None, body=b"", keep=False, **more):
    """A whole request as nginx would send it."""
    values = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": uri,
        "REQUEST_SCHEME": "http",
        "REQUEST_ID": "direct",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "CONTENT_LENGTH": len(body) if body else "",
        **({"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}),
        **more,
    }
    data = record(BEGIN, struct.pack("!HB5x", 1, 1 if keep else 0))
    data += record(PARAMS, parameters(values)) + record(PARAMS)
    for start in range(0, len(body), 65528):
        data += record(STDIN, body[start : start + 65528])
    return data + record(STDIN)


def dial(path, timeout=30):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    connection.connect(path)
    return connection


def read_answer(connection):
    """Everything up to END_REQUEST. Raises ValueError when the peer closes before."""
    data = b""
    with connection.makefile("rb") as stream:
        while True:
            head = stream.read(8)
            if len(head) < 8:
                raise ValueError("closed before END_REQUEST")
            version, kind, _, length, padding, _ = struct.unpack("!BBHHBB", head)
            if version != 1:
                raise ValueError("not a FastCGI record")
            content = stream.read(length + padding)[:length]
            if kind == STDOUT:
                data += content
            elif kind == END:
                break
    head, body = data.split(b"\r\n\r\n", 1)
    headers = [tuple(line.split(": ", 1)) for line in head.decode("latin-1").split("\r\n")]
    status = next(int(value.split()[0]) for name, value in headers if name == "Status")
    return Answer(status, headers, body)


def call(path, method, uri, token=None, body=b"", **more):
    with dial(path) as connection:
        connection.sendall(request_bytes(method, uri, token, body, **more))
        return read_answer(connection)
