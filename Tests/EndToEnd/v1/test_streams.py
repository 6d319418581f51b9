"""Streamed answers: pieces at once, cuts, time limits, clients that leave or do not read."""

import contextlib
import http.client
import json
import re
import socket
import tempfile
import threading
import time

import client
import pytest
from certificates import accepted, make_certificates, server_context
from client import JSON, call, chat, check_error, raw_request, raw_socket, read_to_end
from stack import Stack, wait_for

# As in production: TLS to the upstream, and hundreds of calls open beside the tests.
STACK = {"upstream_tls": True}
CROWD = 200

AS_JSON = [("Content-Type", JSON)]


def open_stream(url, token, method, path, body=None, timeout=60):
    """A connection and its response, whose body has not been read."""
    connection = client.connect(url, timeout=timeout)
    headers = AS_JSON if body is not None else []
    client.send(connection, method, path, body, headers, token)
    return connection, connection.getresponse()


def last_call(stack):
    return stack.mock("/mock/calls")[-1]


def body_of(model, stream=True):
    return chat(model, stream=stream)


# Pieces leave as they come


def test_each_event_is_there_while_the_upstream_still_holds_the_next(stack, token):
    body = body_of("mock?chunks=4&chunk-delay-ms=5000")
    connection, response = open_stream(stack.url, token, "POST", "/v1/chat/completions", body)
    assert response.status == 200
    seen, words = b"", 0
    while words < 3:
        piece = response.read1()
        assert piece, seen
        seen += piece
        words = seen.count(b'"content":') - seen.count(b'"content":""')
        words -= seen.count(b'"content": ""')
        row = last_call(stack)
        # What is here came before the upstream has said all: nothing waits for the end.
        assert row["end"] == "running" and b"[DONE]" not in seen
    seen += response.read()
    connection.close()
    straight = call(
        stack.mock_url, "POST", "/v1/chat/completions", body_of("mock?chunks=4"), AS_JSON, stack.key
    )
    # An answer's id goes by the request's bytes, and these two differ in the delay.
    assert re.sub(b"chatcmpl-[0-9a-f]+", b"", seen) == re.sub(
        b"chatcmpl-[0-9a-f]+", b"", straight.body
    )


def test_pieces_of_known_length_are_not_gathered_either(stack, token):
    path = "/v1/files/x/content?bytes=3000&chunks=3&chunk-delay-ms=5000"
    connection, response = open_stream(stack.url, token, "GET", path)
    seen = b""
    while len(seen) < 2000:
        seen += response.read1(3000)
        assert len(seen) <= 2000 and last_call(stack)["end"] == "running"
    seen += response.read()
    connection.close()
    assert len(seen) == 3000


def test_the_head_of_a_stream_is_there_before_its_first_word(silent, token):
    connection, response = open_stream(silent.stack.url, token, "POST", "/v1/x", b"{}", timeout=10)
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/event-stream"
    connection.close()
    silent.wait_for_close()


# A cut upstream


def test_a_cut_stream_has_no_clean_end(stack, token):
    body = body_of("mock?chunks=9&cut-after=3&chunk-delay-ms=5")
    with raw_socket(stack.url) as connection:
        connection.sendall(raw_request("POST", "/v1/chat/completions", token, body))
        data = read_to_end(connection)
    head, rest = data.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200") and b"transfer-encoding: chunked" in head.lower()
    # Three words arrived, and neither the last chunk nor OpenAI's own end was made up.
    assert rest.count(b"data: ") >= 3
    assert not rest.endswith(b"0\r\n\r\n") and b"[DONE]" not in rest


def test_a_cut_body_of_known_length_stays_short(stack, token):
    path = "/v1/files/x/content?bytes=200000&cut-after-bytes=50000"
    with raw_socket(stack.url) as connection:
        connection.sendall(raw_request("GET", path, token))
        data = read_to_end(connection)
    head, rest = data.split(b"\r\n\r\n", 1)
    assert b"content-length: 200000" in head.lower()
    assert len(rest) < 200_000


@pytest.fixture(scope="module")
def secure(stack):
    """An nginx that speaks TLS and HTTP/2 with its clients, before the same upstream."""
    settings = {"API_URL": stack.upstream_url, "SSL_CERT_FILE": stack.ca_file}
    with Stack(
        mock=False, tls=True, settings=settings, state_directory=stack.state_directory
    ) as other:
        yield other


@pytest.mark.parametrize("what", ["stream", "length", "head"])
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_sees_that_an_answer_is_not_whole(secure, token, version, what):
    path, data = {
        "stream": ("/v1/chat/completions", body_of("mock?chunks=9&cut-after=3")),
        "length": ("/v1/files/x/content?bytes=200000&cut-after-bytes=50000", None),
        "head": ("/v1/chat/completions", body_of("mock?cut-after=0")),
    }[what]
    arguments = ["--cacert", secure.ca_file, version, "-o", "/dev/null", "-w", "%{http_code}"]
    arguments += ["-H", f"Authorization: Bearer {token}"]
    if data:
        arguments += ["-H", f"Content-Type: {JSON}", "-d", data.decode()]
    code, output, trace = client.curl(*arguments, secure.tls_url + path)
    if what == "head" and output == b"502":
        return
    # 18 is a transfer that closed with data left, 92 a stream that was reset, 56 a receive error,
    # and 52 a connection that closed before the head.
    assert code in (18, 56, 92) or (what == "head" and code == 52), (code, output, trace)


@pytest.mark.parametrize("path", ["/v1/models?cut-after-bytes=1", "/v1/models?cut-after-bytes=99"])
def test_a_short_answer_that_was_cut_is_an_error_or_an_abort(stack, token, path):
    with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
        check_error(call(stack.url, "GET", path, token=token), 502, "upstream_error")


# Time limits


@pytest.fixture(scope="module")
def impatient(stack, token):
    """One more worker over the same database and upstream, with limits of seconds."""
    settings = {
        "API_URL": stack.upstream_url,
        "SSL_CERT_FILE": stack.ca_file,
        "FIRST_BYTE_TIMEOUT": "2",
        "IDLE_TIMEOUT": "2",
        "CALL_TIMEOUT": "6",
    }
    with Stack(
        workers=1, mock=False, settings=settings, state_directory=stack.state_directory
    ) as other:
        yield other


def ended(stack, path_part):
    """Waits until the upstream has seen the end of the one call with this in its address."""

    def found():
        rows = [row for row in stack.mock("/mock/calls") if path_part in row["uri"]]
        return rows and rows[-1]["end"] != "running" and rows[-1]

    return wait_for(found, f"the end of {path_part}")


@pytest.mark.parametrize("path", ["/v1/models?hang", "/v1/models?head-delay-ms=60000"])
def test_an_upstream_that_does_not_begin_is_504(stack, impatient, token, path):
    check_error(call(impatient.url, "GET", path, token=token), 504, "upstream_timeout")
    assert ended(stack, path)["end"] == "peer_closed"


def test_an_upstream_that_falls_silent_aborts_the_client(stack, impatient, token):
    path = "/v1/models?chunks=5&chunk-delay-ms=60000&idle"
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        call(impatient.url, "GET", path, token=token)
    assert ended(stack, path)["end"] == "peer_closed"


def test_a_call_that_takes_too_long_is_aborted(stack, impatient, token):
    path = "/v1/models?chunks=1000&chunk-delay-ms=100&endless&whole-call"
    with raw_socket(impatient.url) as connection:
        connection.sendall(raw_request("GET", path, token))
        data = read_to_end(connection)
    assert data.startswith(b"HTTP/1.1 200") and not data.endswith(b"0\r\n\r\n")
    assert ended(stack, path)["end"] == "peer_closed"


class Silent:
    """An upstream that sends the head of a stream and nothing more, or does not even accept."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        self._directory = tempfile.TemporaryDirectory(prefix="silent-")
        self.ca_file = make_certificates(self._directory.name)
        self._context = server_context(self._directory.name)
        self.closed_at, self.stack = [], None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection = accepted(self.listener.accept()[0], self._context)
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection):
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            while connection.recv(65536):
                pass
        self.closed_at.append(time.time() * 1000)

    def close(self):
        self.listener.close()
        self._directory.cleanup()

    def wait_for_close(self):
        wait_for(lambda: self.closed_at, "the upstream to see the close")
        return self.closed_at.pop()


@pytest.fixture(scope="module")
def silent(stack, token):
    upstream = Silent()
    settings = {"API_URL": upstream.url, "SSL_CERT_FILE": upstream.ca_file}
    with Stack(
        workers=1, mock=False, settings=settings, state_directory=stack.state_directory
    ) as upstream.stack:
        yield upstream
    upstream.close()


def test_an_upstream_that_does_not_accept_is_504(stack, token):
    """A listener whose queue is full lets further connections wait for ever."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        settings = {
            "API_URL": f"https://127.0.0.1:{listener.getsockname()[1]}",
            "CONNECT_TIMEOUT": "0.3",
        }
        with Stack(
            workers=1, mock=False, settings=settings, state_directory=stack.state_directory
        ) as other:
            answer = call(other.url, "POST", "/v1/x", b"{}", token=token)
            check_error(answer, 504, "upstream_timeout")


# A client that leaves. The delays are told, not judged: only a hang fails here.

TOO_LATE_MS = 5000


def leave(connection):
    at = time.time() * 1000
    client.close_hard(connection)
    return at


def test_a_client_that_leaves_before_the_head_ends_the_call(stack, token, record_property):
    path = "/v1/models?head-delay-ms=60000&leaves-early"
    connection = raw_socket(stack.url)
    connection.sendall(raw_request("GET", path, token))
    wait_for(lambda: any("leaves-early" in row["uri"] for row in stack.mock("/mock/calls")), "it")
    left = leave(connection)
    row = ended(stack, path)
    report(record_property, row["ended_ms"] - left)
    assert row["end"] == "peer_closed"


def test_a_client_that_leaves_before_the_first_word_ends_the_call(silent, token, record_property):
    connection = raw_socket(silent.stack.url, timeout=10)
    connection.sendall(raw_request("POST", "/v1/x", token, b"{}"))
    assert b"\r\n\r\n" in connection.recv(65536)
    left = leave(connection)
    report(record_property, silent.wait_for_close() - left)


@pytest.mark.parametrize("how", ["between words", "while words flow", "by a clean close"])
def test_a_client_that_leaves_in_mid_stream_ends_the_call(stack, token, how, record_property):
    delay = 1 if how == "while words flow" else 60_000
    tag = how.replace(" ", "-")
    body = body_of(f"mock?endless&chunk-delay-ms={delay}")
    connection = raw_socket(stack.url)
    path = f"/v1/chat/completions?{tag}"
    connection.sendall(raw_request("POST", path, token, body))
    seen = b""
    while seen.count(b"data: ") < 2:
        seen += connection.recv(65536)
    left = time.time() * 1000
    connection.close() if how == "by a clean close" else client.close_hard(connection)
    row = ended(stack, path)
    report(record_property, row["ended_ms"] - left)
    assert row["end"] == "peer_closed"


def report(record_property, delay):
    record_property("milliseconds until the upstream saw the close", round(delay, 1))
    print(f"the upstream saw the close after {delay:.1f} ms")
    assert delay < TOO_LATE_MS


# Back-pressure


def resident_bytes(process):
    with open(f"/proc/{process.pid}/status") as status:
        [line] = [line for line in status if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def test_a_client_that_does_not_read_stops_the_upstream(stack, token):
    before = sum(resident_bytes(process) for process in stack.workers)
    body = body_of("mock?endless&bytes=80000")
    path = "/v1/chat/completions?unread"
    connection = raw_socket(stack.url, receive_buffer=65536)
    connection.sendall(raw_request("POST", path, token, body))

    def sent():
        rows = [row for row in stack.mock("/mock/calls") if row["uri"] == path]
        return rows[-1]["bytes_sent"] if rows else 0

    seen = {"bytes": -1, "since": time.monotonic()}

    def stands_still():
        now = sent()
        if now != seen["bytes"]:
            seen.update(bytes=now, since=time.monotonic())
        return now > 0 and time.monotonic() - seen["since"] > 0.5

    wait_for(stands_still, "the upstream to stop")
    stopped_at = sent()
    # What it could send lies in the sockets between here and there.
    assert stopped_at < 32 << 20
    grown = sum(resident_bytes(process) for process in stack.workers) - before
    assert grown < 16 << 20
    # Others are served meanwhile, and it goes on as soon as somebody reads.
    assert call(stack.url, "GET", "/v1/models", token=token).status == 200
    received = 0
    while received < stopped_at:
        received += len(connection.recv(1 << 20))
    wait_for(lambda: sent() > stopped_at, "the upstream to go on")
    client.close_hard(connection)
    assert ended(stack, path)["end"] == "peer_closed"


def test_many_events_in_one_write_and_split_ones_arrive_unchanged(stack, token):
    body = json.dumps(
        {
            "model": "mock?chunks=2000&bytes=2000000",
            "messages": [{"role": "user", "content": "ñ" * 5000}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    path = "/v1/chat/completions"
    straight = call(stack.mock_url, "POST", path, body, AS_JSON, stack.key)
    assert call(stack.url, "POST", path, body, AS_JSON, token).body == straight.body
