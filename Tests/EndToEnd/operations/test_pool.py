"""The pool of workers: restarts under load, admission, bad peers, and many streams at once."""

import asyncio
import contextlib
import os
import select
import urllib.parse

import client
import fastcgi
import pytest
from client import JSON, Load, call, chat, check_error, raw_request, raw_socket
from stack import Stack, wait_for

HANG = "/v1/models?hang"


@pytest.mark.alone
def test_rolling_restarts_under_load_lose_no_request(record_property):
    """Kept connections on every leg, requests that must not be sent twice, and no failure."""
    with Stack(workers=2) as stack:
        token, _ = stack.signup()
        first = [process.pid for process in stack.workers]
        with Load(stack.url, token, threads=8) as load:
            for number in range(12):
                at = load.count
                assert stack.restart_worker(number % 2) == 0
                wait_for(lambda at=at: load.count > at + 500, "load between two restarts", 60)
            wait_for(lambda: load.count >= 20_000, "20,000 requests", 120)
        assert not set(first) & {process.pid for process in stack.workers}
        assert load.failures == []
        assert load.count >= 20_000
        record_property("requests", load.count)
        print(f"{load.count} requests, 12 restarts, no failure")


def test_replacing_all_workers_at_once_loses_no_request():
    """The pool shrinks to nothing: connections wait in the sockets until a worker comes."""
    with Stack(workers=2) as stack:
        token, _ = stack.signup()
        with Load(stack.url, token, threads=8) as load:
            wait_for(lambda: load.count > 500, "some load")
            for process in list(stack.workers):
                assert stack.stop_worker(process) == 0
            at = load.count
            stack.start_worker()
            wait_for(lambda: load.count > at + 500, "load after the gap", 60)
        assert load.failures == []


# Admission


class Held:
    """Calls that the upstream never answers; closing them is what ends them."""

    def __init__(self, stack, token):
        self._stack, self._token, self._connections = stack, token, []

    def add(self, count):
        for _ in range(count):
            # While a worker stands still a call may find nobody to take it.
            wait_for(self._is_held, "a call that is taken")
            self._stack.mock(f"/mock/wait?in-flight={len(self._connections)}")

    def _is_held(self):
        connection = raw_socket(self._stack.url)
        connection.sendall(raw_request("GET", HANG, self._token))

        def outcome():
            if select.select([connection], [], [], 0.02)[0]:
                return "refused"
            held = self._stack.mock("/mock/stats")["in_flight"]
            return held > len(self._connections) and "held"

        if wait_for(outcome, "an answer, or a call of the upstream") == "refused":
            connection.close()
            return False
        self._connections.append(connection)
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self._connections:
            connection.close()


def ask(stack, token):
    # A cap far below nginx's own limits: an answer that never comes fails here.
    return call(stack.url, "GET", "/v1/models", token=token, timeout=10)


def test_a_full_worker_without_siblings_says_503_and_never_hangs():
    with Stack(workers=1, settings={"MAX_IN_FLIGHT": "2"}) as stack:
        token, _ = stack.signup()
        with Held(stack, token) as held:
            held.add(2)
            for _ in range(3):
                answer = ask(stack, token)
                check_error(answer, 503, "unavailable")
                assert int(answer.header("Retry-After")) >= 1
            check_error(call(stack.url, "GET", "/user/session", timeout=10), 503, "unavailable")
            assert stack.mock("/mock/stats")["calls"] == 2
        wait_for(lambda: ask(stack, token).status == 200, "a free place")


def test_a_full_worker_leaves_the_call_to_its_sibling():
    with Stack(workers=2, settings={"MAX_IN_FLIGHT": "2"}) as stack:
        token, _ = stack.signup()
        with Held(stack, token) as held:
            # Three places of four are taken, whichever worker each call met first.
            held.add(3)
            # One that stands still for a moment may leave a call to nobody.
            statuses = [ask(stack, token).status for _ in range(20)]
            assert statuses.count(200) >= 18 and set(statuses) <= {200, 503}
            stack.mock("/mock/wait?in-flight=3")
            held.add(1)
            answer = ask(stack, token)
            check_error(answer, 503, "unavailable")
            assert answer.header("Retry-After")
            for process in stack.workers:
                assert client.upstream_connections(process, stack.mock_url) >= 2
        wait_for(lambda: ask(stack, token).status == 200, "a free place")


def test_a_burst_over_the_limit_is_answered_to_the_last_request():
    with Stack(workers=2, settings={"MAX_IN_FLIGHT": "4"}) as stack:
        token, _ = stack.signup()
        body = chat("mock?head-delay-ms=100")
        with Load(stack.url, token, threads=32, body=body) as load:
            wait_for(lambda: load.count > 100 and load.failures, "successes and refusals")
        assert {status for _, _, status in load.failures} == {503}
        wait_for(lambda: ask(stack, token).status == 200, "room again")


# Peers on the FastCGI socket


@pytest.fixture(scope="module")
def stack():
    with Stack(workers=1) as running:
        yield running


BAD_PEERS = {
    "silence": b"",
    "garbage": os.urandom(64) + b"GET / HTTP/1.1\r\n\r\n",
    "http": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a head": fastcgi.request_bytes("GET", "/v1/models")[:30],
    "half a parameter": fastcgi.request_bytes("GET", "/v1/models")[:-20],
    "no parameters": fastcgi.record(fastcgi.BEGIN, b"\0\1\0\0\0\0\0\0") + fastcgi.record(4),
    "another role": fastcgi.record(fastcgi.BEGIN, b"\0\3\0\0\0\0\0\0") + fastcgi.record(4),
    "an unknown record": fastcgi.record(99, b"x" * 100),
    "lengths that lie": fastcgi.record(fastcgi.BEGIN, b"\0\1\0\0\0\0\0\0")
    + fastcgi.record(4, b"\xff\xff\xff\xff\x7f" * 20) + fastcgi.record(4) + fastcgi.record(5),
    "lengths of a gibibyte": fastcgi.record(fastcgi.BEGIN, b"\0\1\0\0\0\0\0\0")
    + fastcgi.record(4, b"\xc0\0\0\0\xc0\0\0\0A") + fastcgi.record(4) + fastcgi.record(5),
    "values of a gibibyte in a body": fastcgi.request_bytes("POST", "/user/login", body=b"a=b")[:-8]
    + fastcgi.record(9, b"\xc0\0\0\0\xc0\0\0\0A", request=0),
    "an abort of nothing": fastcgi.record(2),
    "another version": b"\x02\x01\0\1\0\x08\0\0" + b"\0\1\0\0\0\0\0\0",
    "an endless head": fastcgi.record(fastcgi.BEGIN, b"\0\1\0\0\0\0\0\0")
    + fastcgi.record(4, fastcgi.parameters({"HTTP_X": "x" * 60_000})) * 5,
    "bad UTF-8": fastcgi.request_bytes("G\xff", "/v1/\xff\xfe", HTTP_COOKIE="sess=\xff"),
    "nothing but zeros": bytes(4096),
    "a body that does not come": fastcgi.request_bytes("POST", "/user/login", body=b"x" * 99)[:-70],
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_PEERS)
def test_a_bad_peer_stalls_nobody(stack, token, pool, what):
    """Twenty such peers hold their connections while others are served in between."""
    with contextlib.ExitStack() as opened:
        for number in range(20):
            peer = opened.enter_context(fastcgi.dial(stack.fastcgi_socket))
            with contextlib.suppress(OSError):
                peer.sendall(BAD_PEERS[what])
            if number % 2:
                with contextlib.suppress(OSError):
                    peer.shutdown(1)
            assert ask(stack, token).status == 200
        answer = fastcgi.call(stack.fastcgi_socket, "GET", "/user/session", token=token)
        assert answer.status == 200


def test_a_request_in_small_pieces_is_served_and_stalls_nobody(stack, token):
    data = fastcgi.request_bytes("POST", "/v1/echo", token, b"body in bytes")
    with fastcgi.dial(stack.fastcgi_socket) as slow:
        for start in range(0, len(data), 5):
            slow.sendall(data[start : start + 5])
            if start % 10 == 0:
                assert ask(stack, token).status == 200
        answer = fastcgi.read_answer(slow)
    assert answer.status == 200 and answer.json["body_bytes"] == 13


def test_a_kept_connection_serves_request_after_request(stack, token):
    data = fastcgi.request_bytes("GET", "/user/session", token, keep=True)
    with fastcgi.dial(stack.fastcgi_socket) as kept:
        for _ in range(50):
            kept.sendall(data)
            assert fastcgi.read_answer(kept).status == 200


# Many at once

STREAMS = 300


@pytest.mark.alone
def test_three_hundred_streams_at_once_in_one_worker_complete(stack, token):
    body = chat("mock?chunks=4&chunk-delay-ms=3000", stream=True)
    request = raw_request("POST", "/v1/chat/completions", token, body, [("Connection", "close")])
    parts = urllib.parse.urlsplit(stack.url)
    expected = call(
        stack.mock_url, "POST", "/v1/chat/completions", chat("mock?chunks=4", stream=True),
        [("Content-Type", JSON)], stack.key,
    ).body.count(b"data: ")  # fmt: skip

    async def stream():
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(request)
        data = await reader.read(-1)
        writer.close()
        return data

    async def all_streams():
        return await asyncio.wait_for(asyncio.gather(*[stream() for _ in range(STREAMS)]), 60)

    stack.mock_delete("/mock/calls")
    answers = asyncio.run(all_streams())
    for data in answers:
        assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"0\r\n\r\n")
        assert data.count(b"data: ") == expected and b"data: [DONE]" in data
    assert stack.mock("/mock/stats")["max_in_flight"] == STREAMS
    threads = len(os.listdir(f"/proc/{stack.workers[0].pid}/task"))
    assert threads <= 8
