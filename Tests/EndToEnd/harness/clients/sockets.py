"""WebSockets of `/chat/stream`, and what happens to streams whose rights end."""

import json
import time
import urllib.parse

import observers
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket


def websocket(stack, chat, token=None, **query):
    """A WebSocket through nginx with the token in the query, as a browser has it."""
    query = {"id": chat, **({"token": token} if token else {}), **query}
    headers = query.pop("headers", None)
    origin = query.pop("origin", None)
    address = stack.url.replace("http", "ws", 1) + "/chat/stream?" + urllib.parse.urlencode(query)
    return connect_websocket(
        address, additional_headers=headers, origin=origin, compression=None, proxy=None
    )


def receive(socket, until):
    """Frames of a WebSocket up to one that satisfies `until`."""
    frames = []
    while not frames or not until(frames[-1]):
        frames.append(json.loads(socket.recv(timeout=60)))
        observers.frame(frames[-1])
    return frames


def revoked_within_a_second(streams, sockets, change):
    change()
    begun = time.monotonic()
    for stream in streams:
        stream.end()
    for socket in sockets:
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(timeout=60)
        assert closed.value.rcvd.code == 1008
    # The second counts from the answer; the margin is for a busy machine.
    assert time.monotonic() - begun < 2.5
