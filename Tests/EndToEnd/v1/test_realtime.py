"""WebSockets to the upstream, below /v1/, through nginx and the streamer to the mock and back."""

import contextlib
import json
import os
import ssl
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import database
import pytest
from client import call, check_error, close_hard, exchange, raw_request, raw_socket
from raw_upstream import RawUpstream
from stack import CANARY_KEY, Stack, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

# As in production: TLS to the upstream, and hundreds of calls open beside the tests.
STACK = {"upstream_tls": True}
CROWD = 200

PATH = "/v1/realtime"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def opened(stack, token, query="", url=None, headers=None, path=PATH, **options):
    """A WebSocket; Bearer unless other headers are given. Nothing is pinged or compressed."""
    url = (url or stack.url).replace("http", "ws", 1) + path + query
    headers = bearer(token) if headers is None else headers
    settings = {
        "compression": None, "ping_interval": None, "max_size": None, "proxy": None,
        "open_timeout": 30, "close_timeout": 15,
    }  # fmt: skip
    return connect(url, additional_headers=headers, **settings | options)


def refusal(stack, token, query="", **options):
    """The answer to a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused, opened(stack, token, query, **options):
        pass
    return refused.value.response


def check_refusal(response, status, code):
    assert response.status_code == status, response
    assert response.headers["Content-Type"].split(";")[0] == "application/json"
    assert response.headers.get_all("X-Request-Id")
    assert json.loads(response.body)["error"]["code"] == code, response.body


def closing(socket):
    """The code and reason of the close that comes next, whatever comes before."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket.recv(timeout=60)
    received = closed.value.rcvd
    return (received.code, received.reason) if received else None


def row(stack, query):
    """The mock's row of the last call with this query."""
    rows = [row for row in stack.mock("/mock/calls") if row["uri"].endswith(query)]
    return rows[-1] if rows else None


def ended_row(stack, query):
    """The same, once the call has ended there."""

    def ended():
        found = row(stack, query)
        return found and found["end"] != "running" and found

    return wait_for(ended, f"the upstream to see the end of {query}")


def names(found):
    return {name.lower(): value for name, value in found["socket"]["headers"]}


# What passes


def test_text_and_binary_messages_go_to_the_upstream_and_back(stack, token):
    with opened(stack, token, "?model=gpt-realtime") as socket:
        for message in ("hello", "", "für ßie 🎺", b"\x00\x01\xff", b"", "x" * 125, "x" * 126):
            socket.send(message)
            assert socket.recv(timeout=15) == message
    assert row(stack, "?model=gpt-realtime")["uri"] == PATH + "?model=gpt-realtime"


@pytest.mark.parametrize("size", [65535, 65536, 1 << 20, 16 << 20])
def test_large_messages_come_back_whole(stack, token, size):
    message = os.urandom(size)
    with opened(stack, token) as socket:
        socket.send(message)
        assert socket.recv(timeout=30) == message


def test_fragments_stay_fragments(stack, token):
    with opened(stack, token, "?fragments") as socket:
        socket.send(["one ", "", "two ", "three"])
        assert list(socket.recv_streaming()) == ["one ", "", "two ", "three", ""]
    found = ended_row(stack, "?fragments")["socket"]
    assert (found["frames"], found["messages"]) == (5, 1)


def test_pings_and_pongs_of_both_sides_go_through(stack, token):
    with opened(stack, token, "?ping&a=1") as socket:
        assert socket.ping("from here").wait(15)
        socket.send("and after")
        assert socket.recv(timeout=15) == "and after"
    found = ended_row(stack, "?ping&a=1")["socket"]
    assert (found["pings"], found["pongs"]) == (1, 1)


def test_a_chosen_subprotocol_comes_back(stack, token):
    offered = ["realtime", "openai-beta.realtime-v1"]
    with opened(stack, token, "?first", subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
    assert names(row(stack, "?first"))["sec-websocket-protocol"] == ", ".join(offered)
    query = "?subprotocol=openai-beta.realtime-v1"
    with opened(stack, token, query, subprotocols=offered) as socket:
        assert socket.subprotocol == "openai-beta.realtime-v1"
    with opened(stack, token, "?subprotocol=", subprotocols=offered) as socket:
        assert socket.subprotocol is None


def test_an_upstream_that_chooses_what_nobody_offered_is_502(stack, token):
    response = refusal(stack, token, "?subprotocol=other", subprotocols=["realtime"])
    check_refusal(response, 502, "upstream_error")


def test_compression_is_not_negotiated(stack, token):
    with opened(stack, token, "?compressed", compression="deflate") as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        socket.send("x" * 1000)
        assert socket.recv(timeout=15) == "x" * 1000
    assert "sec-websocket-extensions" not in names(row(stack, "?compressed"))


def test_without_an_upgrade_the_path_is_a_call_like_any_other(stack, token):
    answer = call(stack.url, "GET", PATH + "?plain=1", token=token)
    assert answer.status == 400 and "wants a WebSocket" in answer.error["message"]
    assert row(stack, "?plain=1")["method"] == "GET"
    assert call(stack.url, "POST", PATH + "?plain=2", b"{}", token=token).status == 405
    headers = {"Connection": "Upgrade", "Upgrade": "h2c"}
    assert call(stack.url, "GET", PATH + "?plain=3", headers=headers, token=token).status == 400


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses?model=m", "/v1/realtime?a=%2f&b=ä"])
def test_a_websocket_may_be_anywhere_below_v1(stack, token, path):
    stack.mock_delete("/mock/calls")
    raw = urllib.parse.quote(path, safe="/?&=%")
    with opened(stack, token, path=raw) as socket:
        message = '{"type":"response.create","model":"m","input":"hello"}'
        socket.send(message)
        received = socket.recv(timeout=15)
        assert received == message or json.loads(received)["type"] == "response.created"
    assert [row["uri"] for row in stack.mock("/mock/calls")] == [raw]


def test_a_path_without_a_websocket_gets_the_upstreams_refusal(stack, token):
    response = refusal(stack, token, path="/v1/models")
    straight = call(stack.mock_url, "GET", "/v1/models", token=stack.key)
    assert (response.status_code, response.body) == (200, straight.body)
    response = refusal(stack, token, path="/v1/nothing/here")
    assert response.status_code == 404 and response.headers["X-Upstream-Request-Id"]


UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
           ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/v1//realtime", "/v1/a/../realtime", "/v1/a%2fb", "/v1/%2e%2e/x", "/v1/a%00", "/v1/%zz",
        "/v1/a\xffb",
    ],
    ids=repr,
)  # fmt: skip
def test_a_path_that_is_not_plain_opens_no_websocket(stack, token, path):
    stack.mock_delete("/mock/calls")
    answer = exchange(stack.url, raw_request("GET", path, token, b"", UPGRADE))
    check_error(answer, 400, "invalid_request")
    assert stack.mock("/mock/calls") == []


@pytest.fixture(scope="module")
def raw():
    """A product whose upstream answers bytes that a test gives."""
    with RawUpstream(tls=True) as upstream:
        with Stack(workers=1, mock=False, settings=upstream.settings) as other:
            upstream.product, upstream.token = other, other.signup()[0]
            yield upstream


def test_bytes_of_a_handshake_that_are_no_utf_8_pass_both_ways(raw):
    odd, target = "a\xe9\xff\x80z", "/v1/x?a=\xff\xe9&\xc3=\x80&b=%FF"
    lines = f"HTTP/1.1 403 Forbidden\r\nX-Raw: {odd}\r\nContent-Length: 2\r\n\r\nno"
    raw.answer = lines.encode("latin-1")
    request = raw_request("GET", target, raw.token, b"", [*UPGRADE, ("X-Title", odd)])
    answer = exchange(raw.product.url, request)
    assert (answer.status, answer.body, answer.header("X-Raw")) == (403, b"no", odd)
    head = raw.heads[-1]
    assert head.startswith(f"GET {target} HTTP/1.1\r\n".encode("latin-1"))
    assert f"\r\nX-Title: {odd}\r\n".encode("latin-1") in head
    request_id = answer.header("X-Request-Id")
    statement = f"SELECT path FROM events WHERE request_id = '{request_id}'"
    assert database.rows_of_copy(raw.product, statement) == [{"path": "/v1/x"}]


def test_no_byte_of_a_handshakes_query_ends_the_request_line(raw):
    count = len(raw.heads)
    for byte in (*range(0x0A), *range(0x0B, 0x0D), *range(0x0E, 0x21), 0x7F):
        target = f"/v1/x?\xff{chr(byte)}X:y"
        answer = exchange(raw.product.url, raw_request("GET", target, raw.token, b"", UPGRADE))
        check_error(answer, 400, "invalid_request")
    assert len(raw.heads) == count


def test_an_endpoint_of_our_own_says_that_its_query_is_no_utf_8(raw):
    for path in ("/user/read?id=", "/chat/stream?id="):
        answer = exchange(raw.product.url, raw_request("GET", path + "\xff", raw.token))
        error = check_error(answer, 400, "invalid_request")
        assert error["message"] == "The query is not UTF-8."


def test_a_websocket_that_is_not_served_is_426_at_once(stack, token):
    for method, path in (
        ("GET", "/user/session"), ("GET", "/chat/index"), ("POST", "/chat/prompt"),
        ("POST", "/v1/responses"), ("GET", "/user/logout"),
    ):  # fmt: skip
        answer = call(stack.url, method, path, headers=UPGRADE, token=token)
        check_error(answer, 426, "upgrade_required")
        check_error(call(stack.url, method, path, headers=UPGRADE), 401, "unauthorized")
    check_error(call(stack.url, "GET", "/nowhere", headers=UPGRADE, token=token), 404, "not_found")
    other = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
    assert call(stack.url, "GET", "/user/session", headers=other, token=token).status == 200


# Ends


@pytest.mark.parametrize("code, reason", [(1000, ""), (1000, "done"), (3000, "für dich"),
                                          (4999, "x" * 123)])  # fmt: skip
def test_closes_pass_both_ways_with_code_and_reason(stack, token, code, reason):
    with opened(stack, token, f"?ours&n={code}{len(reason)}") as socket:
        socket.close(code, reason)
        # The upstream's own close is what ends it.
        assert (socket.protocol.close_rcvd.code, socket.protocol.close_rcvd.reason) == (code, reason)
    found = ended_row(stack, f"?ours&n={code}{len(reason)}")["socket"]
    assert (found["close_code"], found["close_reason"]) == (code, reason)

    with opened(stack, token, f"?close-after=1&close-code={code}&close-reason={reason}") as socket:
        socket.send("last words")
        assert socket.recv(timeout=15) == "last words"
        assert closing(socket) == (code, reason)


def test_a_close_without_a_code_stays_one(stack, token):
    with opened(stack, token, "?bare") as socket:
        socket.protocol.close_sent = None
        with socket.send_context():
            socket.protocol.send_close()
        assert closing(socket)[0] == 1005
    assert ended_row(stack, "?bare")["socket"]["close_code"] is None


@pytest.mark.parametrize("after", [0, 1])
def test_an_upstream_that_is_cut_is_no_clean_end(stack, token, after):
    with opened(stack, token, f"?cut-after={after}") as socket:
        with contextlib.suppress(ConnectionClosed):
            socket.send("hello")
        assert closing(socket) == (1011, "the upstream broke off")


def test_a_client_that_goes_away_ends_the_upstreams_call(stack, token):
    with opened(stack, token, "?gone") as socket:
        socket.send("hello")
        assert socket.recv(timeout=15) == "hello"
        left = time.time() * 1000
        close_hard(socket.socket)
        found = ended_row(stack, "?gone")
        print(f"the upstream saw it after {found['ended_ms'] - left:.1f} ms")
        assert found["ended_ms"] - left < 1000
        assert found["socket"]["close_code"] == 1001


def test_a_client_that_goes_away_before_the_answer_ends_the_upstreams_call(stack, token):
    with raw_socket(stack.url) as client:
        lines = [f"GET {PATH}?hang&early HTTP/1.1", "Host: localhost", "Upgrade: websocket",
                 "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
                 f"Authorization: Bearer {token}", "", ""]  # fmt: skip
        client.sendall("\r\n".join(lines).encode())
        wait_for(lambda: row(stack, "?hang&early"), "the call to arrive")
        left = time.time() * 1000
        close_hard(client)
    assert ended_row(stack, "?hang&early")["ended_ms"] - left < 1000


BROKEN = {
    "reserved bits": b"\xc1\x80\x00\x00\x00\x00",
    "a reserved opcode": b"\x83\x80\x00\x00\x00\x00",
    "no mask": b"\x81\x02hi",
    "a long ping": b"\x89\xfe\x00\x7e\x00\x00\x00\x00",
    "a ping in fragments": b"\x09\x80\x00\x00\x00\x00",
    "a continuation of nothing": b"\x80\x80\x00\x00\x00\x00",
    "a close of one byte": b"\x88\x81\x00\x00\x00\x00x",
    "a close with 1005": b"\x88\x82\x00\x00\x00\x00\x03\xed",
    "a length that could be shorter": b"\x81\xfe\x00\x02\x00\x00\x00\x00hi",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_protocol_is_closed_and_does_not_reach_the_upstream(stack, token, name):
    query = "?broken=" + name.replace(" ", "-")
    with opened(stack, token, query) as socket:
        socket.socket.sendall(BROKEN[name])
        assert closing(socket)[0] == 1002
    found = ended_row(stack, query)["socket"]
    assert found["close_code"] == 1001 and found["frames"] == 0 and not found["broken"]


def test_a_close_reason_that_is_no_text_is_1007(stack, token):
    with opened(stack, token) as socket:
        socket.socket.sendall(b"\x88\x84\x00\x00\x00\x00\x03\xe8\xff\xff")
        assert closing(socket)[0] == 1007


def test_a_frame_over_16_mib_is_1009(stack, token):
    with opened(stack, token) as socket:
        size = (16 << 20) + 1
        socket.socket.sendall(b"\x82\xff" + size.to_bytes(8, "big") + b"\x00\x00\x00\x00")
        assert closing(socket)[0] == 1009


def test_an_upstream_that_breaks_the_protocol_is_closed_with_1002(stack, token):
    with opened(stack, token, "?bad-frame") as socket:
        assert closing(socket) == (1011, "the upstream broke the protocol")
    assert ended_row(stack, "?bad-frame")["socket"]["close_code"] == 1002


# Refusals


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503, 200])
def test_the_upstreams_own_refusal_reaches_the_client(stack, token, status):
    query = f"?status={status}&header=X-Mine:1&retry-after=7"
    response = refusal(stack, token, query)
    assert response.status_code == status
    assert response.headers["X-Mine"] == "1" and response.headers["X-Upstream-Request-Id"]
    assert "Set-Cookie" not in response.headers and "openai-organization" not in response.headers
    if status >= 400:
        straight = call(stack.mock_url, "GET", f"{PATH}?status={status}", token=stack.key,
                        headers={"Upgrade": "websocket"})  # fmt: skip
        assert response.body == straight.body


def test_redirects_are_not_followed(stack, token):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
    target = stack.mock_url + PATH + "?followed"
    query = f"?status=302&header=Location:{target}"
    answer = call(stack.url, "GET", PATH + query, headers=headers, token=token)
    assert (answer.status, answer.header("Location")) == (302, target)
    assert row(stack, "?followed") is None or row(stack, "?followed")["uri"].count("?") > 1


def test_a_handshake_that_does_not_fit_is_502(stack, token):
    check_refusal(refusal(stack, token, "?wrong-accept"), 502, "upstream_error")
    check_refusal(refusal(stack, token, "?garbage"), 502, "upstream_error")


# Credentials


def test_without_a_valid_credential_nothing_is_asked_upstream(stack, token):
    stack.mock_delete("/mock/calls")
    response = refusal(stack, token, headers={})
    check_refusal(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    check_refusal(refusal(stack, token + "x"), 401, "unauthorized")
    check_refusal(refusal(stack, token, "?token=" + token, headers={}), 401, "unauthorized")
    bad = ["realtime", "openai-insecure-api-key." + token + "x"]
    check_refusal(refusal(stack, token, headers={}, subprotocols=bad), 401, "unauthorized")
    assert stack.mock("/mock/calls") == []


def test_a_browsers_subprotocol_is_a_credential_and_does_not_leave(stack, token):
    offered = ["realtime", "openai-insecure-api-key." + token, "openai-organization.org-1",
               "openai-beta.realtime-v1"]  # fmt: skip
    with opened(stack, token, "?browser", headers={}, subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        socket.send("hello")
        assert socket.recv(timeout=15) == "hello"
    sent = names(row(stack, "?browser"))
    assert sent["sec-websocket-protocol"] == "realtime, openai-beta.realtime-v1"
    # It never leaves, whoever is calling.
    with opened(stack, token, "?both", subprotocols=offered):
        pass
    assert token not in json.dumps(stack.mock("/mock/calls"))


def test_the_key_goes_upstream_and_nothing_of_ours_does(stack, token):
    headers = bearer(token) | {
        "Cookie": f"sess={token}", "X-Forwarded-For": "10.0.0.1", "X-Token": token,
        "OpenAI-Beta": "realtime=v1", "User-Agent": "tests/1", "Origin": stack.url,
        "OpenAI-Organization": "org-1",
    }  # fmt: skip
    with opened(stack, token, "?headers", headers=headers, user_agent_header=None):
        pass
    sent = names(row(stack, "?headers"))
    assert sent["authorization"] == f"Bearer {CANARY_KEY}"
    assert sent["openai-beta"] == "realtime=v1" and sent["user-agent"] == "tests/1"
    assert token not in json.dumps(sent)
    assert set(sent) == {
        "authorization", "openai-beta", "user-agent", "host", "upgrade", "connection",
        "sec-websocket-key", "sec-websocket-version",
    }  # fmt: skip


def test_a_cookie_is_good_from_our_own_pages_alone(stack, token):
    cookie = {"Cookie": f"sess={token}"}
    with opened(stack, token, headers=cookie, origin=stack.url) as socket:
        socket.send("hello")
        assert socket.recv(timeout=15) == "hello"
    for origin in ("https://evil.example", "null"):
        response = refusal(stack, token, headers=cookie, origin=origin)
        check_refusal(response, 403, "forbidden")


def test_a_key_that_the_upstream_quotes_is_masked_even_across_fragments(stack, token):
    with opened(stack, token, "?quote-key") as socket:
        said = "".join(socket.recv_streaming())
        assert said == "Incorrect API key provided: " + "*" * len(CANARY_KEY) + "."
    query = f"?close-code=3000&close-reason=key-{CANARY_KEY[:14]}"
    with opened(stack, token, query) as socket:
        assert closing(socket) == (3000, "key-" + "*" * 14)
    response = refusal(stack, token, "?status=400&quote-key")
    assert CANARY_KEY[:10] not in response.body.decode()


# Rights and limits


@pytest.mark.alone
def test_a_logout_ends_an_open_call_within_a_second(stack):
    token, _ = stack.signup()
    with opened(stack, token, "?chunks=3&logout") as socket:
        socket.recv(timeout=15)
        call(stack.url, "POST", "/user/logout", token=token)
        out = time.monotonic()
        assert closing(socket) == (1008, "no longer allowed")
        assert time.monotonic() - out < 1.5
    assert ended_row(stack, "?chunks=3&logout")["socket"]["close_code"] == 1001
    check_refusal(refusal(stack, token), 401, "unauthorized")


def test_a_client_that_does_not_read_holds_the_upstream_back(stack, token):
    with opened(stack, token, "?endless&bytes=4000&slow", max_queue=1) as socket:
        socket.recv(timeout=15)

        def is_still():
            before = row(stack, "?endless&bytes=4000&slow")["bytes_sent"]
            time.sleep(0.3)
            return before and row(stack, "?endless&bytes=4000&slow")["bytes_sent"] == before

        wait_for(is_still, "the upstream to be held back", 30)
        sent = row(stack, "?endless&bytes=4000&slow")["bytes_sent"]
        print(f"held back after {sent >> 10} KiB")
        assert sent < 32 << 20
        for _ in range(1000):
            socket.recv(timeout=15)
        close_hard(socket.socket)


def test_other_calls_go_on_beside_one_that_is_held_back(stack, token):
    with opened(stack, token, "?endless&bytes=4000&beside", max_queue=1) as held:
        held.recv(timeout=15)
        with opened(stack, token) as socket:
            for number in range(100):
                socket.send(str(number))
                assert socket.recv(timeout=15) == str(number)
        close_hard(held.socket)


@contextlib.contextmanager
def with_settings(**settings):
    with Stack(workers=1, settings=settings, upstream_tls=True) as running:
        yield running, running.signup()[0]


def test_time_limits():
    settings = {"FIRST_BYTE_TIMEOUT": 3, "IDLE_TIMEOUT": 3, "CALL_TIMEOUT": 14}
    with with_settings(**settings) as (stack, token):
        check_refusal(refusal(stack, token, "?hang"), 504, "upstream_timeout")
        # Silence is not death: both sides are asked, and answer.
        begun = time.monotonic()
        with opened(stack, token, "?quiet") as socket:
            assert closing(socket) == (1011, "the call took too long")
            assert 14 <= time.monotonic() - begun < 17
        found = ended_row(stack, "?quiet")["socket"]
        assert found["close_code"] == 1001 and found["pongs"] == 0
        with opened(stack, token, "?deaf&silence") as socket:
            begun = time.monotonic()
            assert closing(socket) == (1011, "nothing came for too long")
            assert time.monotonic() - begun < 13.9


def test_an_upstream_that_does_not_read_holds_the_client_back_and_is_given_up():
    with with_settings(IDLE_TIMEOUT=1) as (stack, token), opened(stack, token, "?deaf") as client:
        client.socket.settimeout(1)
        taken = 0
        with pytest.raises(TimeoutError):
            while taken < 64 << 20:
                taken += client.socket.send(b"\x82\xfe\xff\xff\x00\x00\x00\x00" + b"x" * 65535)
        print(f"held back after {taken >> 10} KiB")
        assert taken < 32 << 20
        # It is reset: an end behind what it does not read it would never see.
        assert ended_row(stack, "?deaf")["end"] == "peer_closed"


def test_a_user_has_so_many_calls_and_no_more():
    with with_settings(MAX_STREAMS_PER_USER=2) as (stack, token):
        with opened(stack, token), opened(stack, token, "?second") as second:
            response = refusal(stack, token)
            check_refusal(response, 429, "rate_limited")
            assert response.headers["Retry-After"]
            second.close()

            def opens():
                with contextlib.suppress(InvalidStatus), opened(stack, token):
                    return True

            wait_for(opens, "a place to be free again")


def test_no_descriptor_is_left_behind(stack, token):
    def held():
        return len(os.listdir(f"/proc/{stack.streamer.pid}/fd"))

    # What is open at all times is open now.
    with opened(stack, token) as socket:
        socket.close()
    others = stack.held_calls
    is_silent = f"/mock/wait?in-flight={others}"
    wait_for(lambda: stack.mock(is_silent)["in_flight"] == others, "silence")
    before = wait_for(lambda: held(), "a count")
    for number in range(20):
        with contextlib.suppress(InvalidStatus), opened(
            stack, token, ["?x", "?cut-after=0", "?status=500", "?bad-frame"][number % 4]
        ) as socket:
            if number % 8 == 0:
                close_hard(socket.socket)
                continue
            if number % 8 == 4:
                socket.socket.sendall(BROKEN["no mask"])
            closing(socket)
    wait_for(lambda: held() <= before, f"{before} descriptors again")


# What is recorded


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql+redis"], scope="module")
def test_each_call_is_a_row_with_its_end(make_stack):
    with make_stack(workers=1, upstream_tls=True) as stack:
        token, user = stack.signup()

        def do(name, query="", **options):
            headers = bearer(token) | {"X-Request-Id": name}
            return opened(stack, token, query, headers=headers, **options)

        with do("done", "?model=gpt-realtime") as socket:
            socket.send("hello")
            socket.recv(timeout=15)
            socket.send(b"\x00binary")
            socket.recv(timeout=15)
        with do("cut", "?cut-after=0") as socket:
            closing(socket)
        with do("gone", "?leaves") as socket:
            close_hard(socket.socket)
        ended_row(stack, "?leaves")
        with do("broken") as socket:
            socket.socket.sendall(BROKEN["no mask"])
            closing(socket)
        for name, status in [("refused", 429), ("key", 401)]:
            with pytest.raises(InvalidStatus), do(name, f"?status={status}"):
                pass
        with do("restart", "?restart") as socket, ThreadPoolExecutor() as beside:
            told = beside.submit(closing, socket)
            begun = time.monotonic()
            assert stack.stop_streamer() == 0
            assert told.result() == (1012, "restart")
            assert time.monotonic() - begun < 5
        assert ended_row(stack, "?restart")["socket"]["close_code"] == 1001
        database.stop_workers(stack)
        rows = database.events(stack)
        ends = {
            "done": "done", "cut": "upstream_cut", "gone": "client_gone", "broken": "error",
            "refused": "done", "key": "error", "restart": "stopped",
        }  # fmt: skip
        assert {name: rows[name]["end"] for name in ends} == ends
        done = rows["done"]
        assert (done["type"], done["method"], done["path"]) == ("forward", "GET", PATH)
        assert (done["status"], done["upstream_status"]) == (101, 101)
        assert done["user_id"] == user["id"] and done["model"] == "gpt-realtime"
        assert done["client_ip"] == "127.0.0.1" and done["duration_us"] > 0
        # Heads and masks are counted: three frames there, of which the last is a close.
        assert done["bytes_in"] == (6 + 5) + (6 + 7) + (6 + 2)
        assert done["bytes_out"] == (2 + 5) + (2 + 7) + (2 + 2)
        assert (rows["refused"]["status"], rows["refused"]["upstream_status"]) == (429, 429)
        assert (rows["key"]["status"], rows["key"]["upstream_status"]) == (502, 401)
        assert all(CANARY_KEY[:10] not in text and token not in text
                   for text in stack.logs().values())  # fmt: skip


def test_a_killed_streamer_leaves_a_row_that_others_close():
    with Stack(workers=1, upstream_tls=True) as stack:
        token, _ = stack.signup()
        headers = bearer(token) | {"X-Request-Id": "killed"}
        with opened(stack, token, "?killed", headers=headers) as socket:
            stack.kill_streamer()
            assert closing(socket) is None
        assert ended_row(stack, "?killed")["end"] == "peer_closed"
        database.stop_workers(stack)
        found = database.events(stack)["killed"]
        assert found["type"] == "forward" and found["end"] in (None, "error")


# Other upstreams


def test_an_upstream_with_tls_and_its_certificate():
    with Stack(workers=1, tls=True) as stack:
        token, _ = stack.signup()
        with opened(stack, token, "?tls") as socket:
            for message in ("hello", os.urandom(1 << 20)):
                socket.send(message)
                assert socket.recv(timeout=15) == message
        assert names(row(stack, "?tls"))["authorization"] == f"Bearer {CANARY_KEY}"
        trusted = ssl.create_default_context(cafile=stack.ca_file)
        with opened(stack, token, "?wss", url=stack.tls_url, ssl=trusted) as socket:
            socket.send("hello")
            assert socket.recv(timeout=15) == "hello"
        with opened(stack, token, "?tls&cut-after=0") as socket:
            assert closing(socket) == (1011, "the upstream broke off")
        with opened(stack, token, "?tls&gone") as socket:
            close_hard(socket.socket)
        ended_row(stack, "?tls&gone")
        empty = {"SSL_CERT_FILE": None, "API_URL": stack.upstream_url}
        with Stack(workers=1, mock=False, settings=empty) as other:
            other_token, _ = other.signup()
            check_refusal(refusal(other, other_token), 502, "upstream_error")


def test_an_upstream_that_is_not_there_is_502():
    with Stack(workers=1, mock=False, settings={"API_URL": "http://127.0.0.1:9"}) as stack:
        token, _ = stack.signup()
        check_refusal(refusal(stack, token), 502, "upstream_error")


def test_azure_has_the_deployment_in_the_query(stack):
    address = "/openai/deployments/my-deployment/completions?api-version=2025-04-01-preview"
    settings = {"API_URL": stack.upstream_url + address, "API_TYPE": "azure"}
    settings["SSL_CERT_FILE"] = stack.ca_file
    with Stack(workers=1, mock=False, settings=settings) as other:
        token, _ = other.signup()
        query = "?model=x&api-version=1999&deployment=theirs"
        with opened(other, token, query) as socket:
            socket.send("hello")
            assert socket.recv(timeout=15) == "hello"
        found = stack.mock("/mock/calls")[-1]
        assert found["uri"] == (
            "/openai/realtime?model=x&api-version=2025-04-01-preview&deployment=my-deployment"
        )
        sent = names(found)
        assert sent["api-key"] == CANARY_KEY and "authorization" not in sent


def test_a_wrong_key_is_the_operators_trouble(stack):
    wrong = "sk-wrong-0123456789abcdef"
    settings = {"API_URL": stack.upstream_url, "SSL_CERT_FILE": stack.ca_file}
    with Stack(workers=1, mock=False, key=wrong, settings=settings) as other:
        token, _ = other.signup()
        response = refusal(other, token)
        check_refusal(response, 502, "upstream_auth")
        assert "WWW-Authenticate" not in response.headers
        assert wrong[:8] not in response.body.decode()
