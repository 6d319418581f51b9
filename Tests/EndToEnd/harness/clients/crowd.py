"""Hundreds of calls that stay open beside the tests, as an installation in production has them."""

import contextlib

from client import chat, raw_request, raw_socket
from stack import wait_for

SECOND_PIECE_MS = 60_000
PATH = "/v1/chat/completions?crowd"


@contextlib.contextmanager
def crowd(stack, count, upstream=None):
    """So many calls through nginx that do not end: every second one is a stream.

    With an `Upstream` they are its, and streams all. `stack.held_calls` says how many calls the
    mock holds, for tests that count what is in flight.
    """
    if not count:
        yield
        return
    token, _ = stack.signup()
    silent = raw_request("GET", "/v1/models?hang&crowd", token)
    model = f"mock?endless&chunk-delay-ms={SECOND_PIECE_MS}"
    stream = raw_request("POST", PATH, token, chat(model, stream=True, content="crowd"))

    def held():
        return len(upstream.of("crowd")) if upstream else stack.mock("/mock/stats")["in_flight"]

    with contextlib.ExitStack() as opened:
        streams = []
        for number in range(count):
            connection = opened.enter_context(raw_socket(stack.url))
            is_stream = bool(upstream) or number % 2 == 1
            connection.sendall(stream if is_stream else silent)
            if is_stream:
                streams.append(connection)
        wait_for(lambda: held() == count, "the crowd's calls")
        for connection in streams:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        stack.held_calls = 0 if upstream else count
        yield
