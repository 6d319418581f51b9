"""Malformed requests: each is a 4xx in the JSON shape with a request id, and no worker ends.

What a parser refuses is told with the parameter's name where there is one.
"""

import json
import re

import client
import database
import fastcgi
import pytest
from client import FORM, JSON, call, check_error, exchange, raw_request

MIB = 1 << 20
STACK = {"settings": {"MAX_BODY": "1MiB"}}

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def nested(levels):
    """An object of that many levels, itself counted."""
    return '{"x":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


# Bodies and queries


@pytest.mark.parametrize(
    "body",
    [
        b"{", b'{"first_name":', b'{"first_name":"a",}', b"{'first_name':'a'}", b'{"first_name"}',
        b'{"first_name":"a"} x', b'{"first_name":"a"}{}', b'{"first_name":"\\ud800"}',
        b'{"first_name":"\\x"}', b'{"first_name":"\\u12"}', b'{"first_name":"a\nb"}',
        b'{"first_name":"\xff"}', b'{"first_name":"\xc0\xaf"}', b'{"first_name":"\xed\xa0\x80"}',
        b'{"a":01}', b'{"a":1.}', b'{"a":.5}', b'{"a":+1}', b'{"a":NaN}', b'{"a":tru}', b'{"a":1e}',
        b'{"a":-}', b"\xef\xbb\xbf{}", b"[]", b'"text"', b"null", b"1", b"\x00", b"{\x00}",
        b'{"a":' * 3000, b"[" * 100_000, b'{"a":"' + b"x" * 100_000, nested(65).encode(),
    ],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_malformed_json_is_refused(stack, token, pool, body):
    answer = call(
        stack.url, "POST", "/user/update", body, [("Content-Type", JSON)], token=token
    )
    check_error(answer, 400, "invalid_request")


def test_json_may_be_nested_to_64_levels(stack, token):
    for body in (" \r\n\t{}", '{"first_name":"\\ud83d\\ude00"}', '{"x":null}'):
        answer = call(
            stack.url, "POST", "/user/update", body, [("Content-Type", FORM)], token=token
        )
        assert answer.status == 200, body
    # It is read, and its member is unknown.
    answer = call(stack.url, "POST", "/user/update", nested(64), token=token)
    check_error(answer, 400, "invalid_request", "x")


def test_an_unknown_parameter_is_named_with_the_one_that_is_near(stack, token):
    for given in ({"form": {"frist_name": "a"}}, {"json": {"frist_name": "a"}}):
        answer = call(stack.url, "POST", "/user/update", token=token, **given)
        error = check_error(answer, 400, "invalid_request", "frist_name")
        assert "Did you mean first_name?" in error["message"]
    answer = call(stack.url, "GET", "/user/read?user=a&_=1", token=token)
    check_error(answer, 400, "invalid_request", "user")
    assert call(stack.url, "GET", "/user/read?_=1", token=token).status == 200


MARKS = "a" + "\u0301\u0323" * 36_000


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({MARKS: 1}, ensure_ascii=False), f"{MARKS}=1", f"username={MARKS}&password=x",
        json.dumps({"username": MARKS, "password": "x"}, ensure_ascii=False),
        '{"a":[' + "1," * 500_000 + "1]}", "&a" * 500_000, "username=" + "%41" * 300_000,
    ],
    ids=lambda body: body[:12],
)
def test_a_strangers_long_text_holds_nobody_up(stack, pool, body):
    """Long runs of combining marks took a worker's loop for seconds each: now it has turned them away
    before it answers another request, which says nothing of time where it did not wait."""
    for path in ("/user/login", "/user/logout"):
        answer = call(stack.url, "POST", path, body.encode(), [("Content-Type", FORM)])
        assert answer.status in (400, 401, 429), path
        check_error(answer, answer.status)


@pytest.mark.parametrize(
    "name, body",
    [
        ("first_name", b"first_name=%zz"), ("first_name", b"first_name=%"),
        ("first_name", b"first_name=%f"), ("first_name", b"first_name=%ff"),
        ("first_name", b"first_name=\xff"), ("first_name", b"first_name=%c0%80"),
        ("first_name", b"first_name=a&first_name=b"), ("first_name", b"first_name=%00"),
        ("first_name", b"first_name=" + b"x" * 255), (None, b"%zz=1"), (None, b"%ff=1"),
    ],
    ids=lambda value: repr(value)[:32],
)  # fmt: skip
@pytest.mark.parametrize("place", ["form", "query"])
def test_malformed_forms_and_queries_name_the_parameter(stack, token, pool, place, name, body):
    if place == "form":
        headers = [("Content-Type", FORM)]
        answer = call(stack.url, "POST", "/user/update", body, headers, token=token)
    else:
        path = "/user/update?" + body.decode("latin-1")
        answer = exchange(stack.url, raw_request("POST", path, token, b"{}"))
    error = check_error(answer, 400, "invalid_request")
    # A raw byte in the request line is refused before anybody looks for a parameter.
    if name and not (place == "query" and b"\xff" in body):
        assert error["param"] == name


@pytest.mark.parametrize("value", [1, 1.5, True, [], ["a"], {}, {"a": "b"}], ids=json.dumps)
def test_a_text_of_another_type_is_refused(stack, token, pool, value):
    answer = call(stack.url, "POST", "/user/update", token=token, json={"first_name": value})
    check_error(answer, 400, "invalid_request", "first_name")


def test_a_json_member_given_twice_is_refused(stack, token):
    body = '{"first_name":"a","first_name":"b"}'
    answer = call(stack.url, "POST", "/user/update", body, token=token)
    check_error(answer, 400, "invalid_request", "first_name")


def test_later_sources_win_over_earlier_ones(stack, token):
    path = "/user/update?first_name=query&last_name=query"
    changed = call(stack.url, "POST", path, token=token, form={"first_name": "form"}).json
    assert (changed["first_name"], changed["last_name"]) == ("form", "query")
    changed = call(stack.url, "POST", path, token=token, json={"last_name": "json"}).json
    assert (changed["first_name"], changed["last_name"]) == ("query", "json")


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "x", "image/png"]
)
def test_a_body_of_another_type_is_415(stack, token, pool, kind):
    answer = call(
        stack.url, "POST", "/user/update", "first_name=a", [("Content-Type", kind)], token=token
    )
    check_error(answer, 415, "unsupported_media_type")
    # What begins with a brace is JSON whatever it is called.
    answer = call(
        stack.url, "POST", "/user/update", ' {"first_name":"a"}', [("Content-Type", kind)],
        token=token,
    )  # fmt: skip
    assert answer.status == 200


# Sizes


def test_a_body_over_one_mebibyte_is_413_outside_v1(stack, token, pool):
    body = b"first_name=" + b"x" * MIB
    answer = call(stack.url, "POST", "/user/update", body, [("Content-Type", FORM)], token=token)
    check_error(answer, 413, "too_large")
    length = {"token": token, "CONTENT_TYPE": FORM, "body": body}
    answer = fastcgi.call(stack.fastcgi_socket, "POST", "/user/update", **length)
    check_error(answer, 413, "too_large")


def test_a_body_over_max_body_is_413_below_v1_and_never_leaves(stack, token, pool):
    stack.mock_delete("/mock/calls")
    for body in (b"x" * (MIB + 1), iter([b"x" * MIB, b"x"])):
        connection = client.connect(stack.url)
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("POST", "/v1/echo", body=body, headers=headers)
        response = connection.getresponse()
        check_error(
            client.Answer(response.status, response.getheaders(), response.read()), 413, "too_large"
        )
        connection.close()
    assert stack.mock("/mock/calls") == []
    assert call(stack.url, "POST", "/v1/echo", b"x" * MIB, token=token).status == 200


def test_nginx_refuses_what_is_announced_too_large_without_reading_it(stack, token, pool):
    head = raw_request("POST", "/v1/files", token, headers=[("Content-Length", 513 * MIB)])
    check_error(exchange(stack.url, head), 413, "too_large")


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../user/session", "/v1/./models", "/v1/models/..", "/v1/models/.",
        "/user/../v1/models",
        "/v1/%2e%2e/models", "/v1/%2E./models", "/v1/..%2fmodels", "/v1/models/%2e%2e%2fx",
        "/v1/models/a%2f..", "/v1/models/a%2f.%2fb", "/v1/a%2fb", "/v1/a%2Fb", "/v1%2fmodels",
        "/v1/%00", "/v1/models/a%00b", "/v1//models", "//v1/models", "/v1/models//", "///",
        "/v1/a%01b", "/v1/a%0ab", "/v1/a%0d%0aX: y", "/v1/a%7fb", "/v1/%zz", "/v1/a%", "/v1/a%2",
        "/user//read", "/user/%2e%2e/v1/models", "/v1/\x01", "/v1/a\x7fb", "/v1/a\x00b", "/v1/\\",
        "/v1/a\xffb", "v1/models", "http://evil.example//v1/models", "http://evil.example/v1/../x",
        "/v1/..;/models/..", "/.", "/..", "/%2e", "/user/session%00", "/user%2fsession",
    ],
    ids=repr,
)  # fmt: skip
def test_a_path_that_is_not_plain_is_400(stack, token, pool, path):
    stack.mock_delete("/mock/calls")
    answer = exchange(stack.url, raw_request("GET", path, token))
    check_error(answer, 400, "invalid_request")
    assert stack.mock("/mock/calls") == []


def test_a_slash_may_be_escaped_in_a_models_name_alone(stack, token):
    answer = call(stack.url, "GET", "/v1/models/acme%2fmodel", token=token)
    assert answer.json["id"] == "acme/model"


@pytest.mark.parametrize("path", ["/nowhere", "/user", "/user/", "/user/sessions", "/v1", "/v2/x"])
def test_a_path_with_nothing_behind_it_is_404(stack, token, pool, path):
    check_error(call(stack.url, "GET", path, token=token), 404, "not_found")
    check_error(call(stack.url, "POST", path, token=token), 404, "not_found")


# Methods

READING = ["/user/read", "/user/session", "/user/logout"]
WRITING = ["/user/signup", "/user/login", "/user/update", "/user/password/update"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("path", READING + WRITING)
def test_a_wrong_method_is_405_and_told_the_right_ones(stack, token, pool, path, method):
    answer = call(stack.url, method, path, token=token)
    check_error(answer, 405, "method_not_allowed")
    allowed = {name.strip() for name in answer.header("Allow").split(",")}
    assert allowed == ({"GET", "HEAD", "POST"} if path in READING else {"POST"})


@pytest.mark.parametrize("path", WRITING)
def test_what_writes_does_not_take_get(stack, token, pool, path):
    check_error(call(stack.url, "GET", path, token=token), 405, "method_not_allowed")
    answer = call(stack.url, "HEAD", path, token=token)
    assert (answer.status, answer.header("Allow"), answer.body) == (405, "POST", b"")


def test_head_works_where_get_does(stack, token):
    got = call(stack.url, "GET", "/user/session", token=token)
    head = call(stack.url, "HEAD", "/user/session", token=token)
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == str(len(got.body))


def test_trace_and_connect_are_refused(stack, token, pool):
    answer = call(stack.url, "TRACE", "/v1/models", token=token)
    check_error(answer, 405, "method_not_allowed")
    assert answer.header("Allow")
    check_error(exchange(stack.url, raw_request("CONNECT", "evil:443", token)), (400, 405))


# Request ids and headers


@pytest.mark.parametrize("id", ["a", "A-1.b_c", "x" * 64])
def test_a_clients_request_id_is_kept(stack, token, id):
    for path in ("/user/session", "/v1/models", "/nowhere"):
        answer = call(stack.url, "GET", path, token=token, headers={"X-Request-Id": id})
        assert answer.all("X-Request-Id") == [id]


@pytest.mark.parametrize("id", ["", "x" * 65, "a b", "a,b", "é", '"', "<a>", "a/b"])
def test_a_request_id_that_is_none_is_replaced(stack, token, id):
    headers = {"X-Request-Id": id.encode()}
    answer = call(stack.url, "GET", "/user/session", token=token, headers=headers)
    [given] = answer.all("X-Request-Id")
    assert given != id and REQUEST_ID.fullmatch(given)


HEAD = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"get /v1/models HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET /v1/models HTTP/x\r\n" + HEAD + b"\r\n",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n" + HEAD + HEAD + b"\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n" + HEAD + b"X: a\x00b\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + (b"X: " + b"a" * 8000 + b"\r\n") * 12 + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\n" + HEAD
        + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\n" + HEAD
        + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        # The error pages of others than 400 meet the broken chunk, too.
        *(
            line + HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"
            for line in (
                b"POST /v1/echo HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"POST /web/x HTTP/1.1\r\n",
                b"POST /user/login HTTP/1.1\r\n", b"POST /chat/stream HTTP/1.1\r\n",
            )
        ),
    ],
    ids=lambda request: repr(request[:40] + request[-20:]),
)
def test_a_request_that_is_no_http_is_refused(stack, token, pool, request_bytes):
    request_bytes = request_bytes.replace(b"TOKEN", token.encode())
    check_error(exchange(stack.url, request_bytes), (400, 414, 431), "invalid_request")


def test_bytes_beyond_ascii_in_a_header_end_no_worker(stack, token, pool):
    for name in ("User-Agent", "Accept", "OpenAI-Beta", "Origin", "X-Stainless-Lang", "Host"):
        value = bytes(range(0x80, 0x100))
        headers = [(name, value.decode("latin-1"))]
        answer = exchange(stack.url, raw_request("GET", "/v1/models", token, headers=headers))
        assert answer.status in (200, 400), name
        assert answer.header("X-Request-Id")


def test_a_request_has_a_thousand_headers_at_most(stack, token, pool):
    def ask(path, count, *more):
        headers = [*((f"X-{number}", "a") for number in range(count)), *more]
        return exchange(stack.url, raw_request("GET", path, token, headers=headers))

    for path in ("/user/session", "/v1/models"):
        assert ask(path, 900).status == 200
        # An nginx that counts them itself says 431.
        for count in (1000, 3000):
            answer = ask(path, count)
            check_error(answer, (400, 431), "invalid_request")
            assert "more than 1000" in answer.error["message"] or "at most 1000" in answer.error["message"]
    upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
               ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]  # fmt: skip
    for path in ("/chat/stream?id=00000000-0000-7000-8000-000000000000", "/v1/realtime"):
        check_error(ask(path, 1000, *upgrade), (400, 431), "invalid_request")


# Nothing that is sent holds a worker's loop

MARKS = "\u0301\u0323"
# What nginx takes of a header, and of a body.
HEADER, BODY = 15_000, MIB - 64


def filled(pattern, size, before="", after=""):
    """As many of the pattern as make so many bytes."""
    pattern = pattern.encode() if isinstance(pattern, str) else pattern
    return before.encode() + pattern * (size // len(pattern)) + after.encode()


def posted(body, kind=JSON, path="/user/login"):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def headed(*lines, target=b"/user/session"):
    return b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
        line + b"\r\n" for line in lines
    ) + b"\r\n"  # fmt: skip


HEAVY = {
    "a name of marks": posted(
        filled(MARKS, 144_000, '{"a', '":1}'), path="/user/logout"
    ),
    "names of marks": posted(filled(f'"{MARKS * 50}":1,', BODY, "{", '"a":1}')),
    "a value of marks": posted(filled(MARKS, BODY, '{"username":"', '","password":"b"}')),
    "a user name of marks": posted(filled(MARKS, BODY, "password=b&username="), FORM),
    "a name of a form": posted(filled(MARKS, BODY, "", "=b"), FORM),
    "empty names": posted(filled("a=&", BODY), FORM),
    "as many names as fit": posted(
        "&".join(f"{number:x}=" for number in range(BODY // 7)).encode(), FORM
    ),
    "escapes": posted(filled("%CC%81", BODY, "username="), FORM),
    "depth": posted(filled('{"a":', BODY)),
    "brackets": posted(filled("[", BODY, '{"a":')),
    "small elements": posted(filled("1,", BODY, '{"a":[', "1]}")),
    "small members": posted(filled('"a":1,', BODY, "{", '"b":1}')),
    "escaped marks": posted(filled("\\u0301\\u0323", BODY, '{"username":"', '"}')),
    "digits": posted(filled("1", BODY, '{"a":', "}")),
    "spaces": posted(filled(" ", BODY, "{", "}")),
    "no UTF-8": posted(filled(b"\xff\xc3", BODY, '{"a":"', '"}')),
    "an id of marks": posted(filled(MARKS, 900_000, "id="), FORM, "/chat/read"),
    "a query of marks": headed(target=filled("%CC%81%CC%A3", HEADER, "/chat/read?id=")),
    "a query of names": headed(target=filled("a&", HEADER, "/chat/read?")),
    "cookies of marks": headed(*[filled(MARKS, HEADER, "Cookie: sess=")] * 3),
    "many cookies": headed(*[filled("sess=;", HEADER, "Cookie: ")] * 3),
    "an origin of marks": headed(*[filled(MARKS, HEADER, "Origin: http://")] * 3),
    "a credential of marks": headed(filled(MARKS, HEADER, "Authorization: Bearer ")),
    "a basic credential": headed(filled("zIHMow", HEADER, "Authorization: Basic ")),
    "many headers": headed(*[b"A:"] * 5000),
    "protocols": headed(*[filled("a,", HEADER, "Sec-WebSocket-Protocol: ")] * 3),
    "connections": headed(*[filled(",", HEADER, "Connection: ")] * 3),
}


def long_turns(stack):
    """How many turns of the workers' loops have taken over a tenth of a second."""
    text = call(stack.url, "GET", "/metrics").body.decode()
    figures = re.findall(
        r'proxy_gpt_loop_turn_seconds_(bucket|count)\{process="worker"(?:,le="([^"]+)")?\} (\d+)', text
    )
    found = {bound or name: int(number) for name, bound, number in figures}
    assert found["count"] > 0
    return found["count"] - found["0.1"]


@pytest.mark.parametrize("what", HEAVY)
def test_no_request_holds_a_loop(stack, token, pool, what):
    # A machine may stand still once, but not whenever this is sent.
    for _ in range(3):
        before = long_turns(stack)
        answer = exchange(stack.url, HEAVY[what])
        assert 400 <= answer.status < 500, answer
        if long_turns(stack) == before:
            return
    pytest.fail("it holds a loop for over a tenth of a second")


def test_a_head_that_the_streamer_cannot_read_is_answered_in_the_same_shape(stack, token):
    for more in ([], [("Upgrade", "websocket"), ("Connection", "Upgrade")]):
        headers = [("Cookie", "a=\x01"), ("X-Request-Id", "mine"), *more]
        path = "/v1/realtime" if more else "/chat/stream"
        answer = exchange(stack.url, raw_request("GET", path, token, headers=headers))
        check_error(answer, 400, "invalid_request")
        assert answer.all("X-Request-Id") == ["mine"]


# nginx alone. The last test of this file: it stops the pool.


def test_without_workers_nginx_answers_in_the_same_shape(stack, token):
    database.stop_workers(stack)
    stack.close_sockets()
    for path in ("/v1/models", "/user/session", "/user/logout", "/v1", "/web"):
        headers = {"X-Request-Id": "mine"}
        answer = call(stack.url, "GET", path, token=token, headers=headers)
        check_error(answer, (502, 503))
        assert answer.all("X-Request-Id") == ["mine"]
        assert answer.header("Retry-After")
    check_error(exchange(stack.url, raw_request("GET", "/v1/%00")), 400, "invalid_request")
    check_error(exchange(stack.url, raw_request("GET", "/../x")), 400, "invalid_request")
    check_error(exchange(stack.url, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n"), 414)
    large = raw_request("POST", "/user/login", headers=[("Content-Length", 2 * MIB)])
    check_error(exchange(stack.url, large), 413, "too_large")
    # The pool comes back, and nginx finds it without being told.
    stack.open_sockets()
    stack.start_worker()
    assert call(stack.url, "GET", "/v1/models", token=token).status == 200
