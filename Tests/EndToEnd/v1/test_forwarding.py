"""/v1/ is passed on verbatim: the same request straight to the upstream and through the product.

Every byte of the body, the status and the headers that pass are compared.
"""

import hashlib
import json
import urllib.parse

import client
import database
import pytest
from client import JSON, Answer, call, chat, check_error, exchange, raw_request
from raw_upstream import RawUpstream
from stack import CANARY_KEY, Stack

# As in production: TLS to the upstream, and hundreds of calls open beside the tests.
STACK = {"upstream_tls": True}
CROWD = 200

# Hop-by-hop, the operator's account, and what would act in the name of our origin or server.
DROPPED = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "set-cookie", "openai-organization", "openai-project",
    "status", "alt-svc", "strict-transport-security", "clear-site-data", "refresh", "server",
    "date", "nel", "report-to", "reporting-endpoints", "content-security-policy-report-only",
    "service-worker-allowed", "accept-ch", "critical-ch", "origin-trial", "onion-location",
    "set-cookie2", "public-key-pins", "public-key-pins-report-only", "expect-ct", "sourcemap",
    "x-sourcemap", "x-sendfile", "timing-allow-origin",
}  # fmt: skip
DROPPED_PREFIXES = ("x-accel-", "access-control-", "cross-origin-")
# What is ours: nginx's own three, the request id, what tells a proxy in front not to gather a stream,
# and three that disarm a page from upstream.
OWN = {
    "server", "date", "connection", "transfer-encoding", "x-request-id", "x-content-type-options",
    "content-security-policy", "cross-origin-resource-policy", "x-accel-buffering",
}  # fmt: skip

QUERY = "?q=%20+%2F%zz&&=&a[]=1&b=?&c=%c3%A9&d=%2e%2e%2f//..&%00=%"


def passing(answer):
    """Of the upstream's headers those that the client has to see, sorted."""
    pairs = []
    for name, value in answer.headers:
        name = name.lower()
        if name in DROPPED | {"x-content-type-options"} or name.startswith(DROPPED_PREFIXES):
            continue
        if name == "x-request-id":
            # Each call has its own, so only that it is there can be compared.
            name, value = "x-upstream-request-id", ""
        pairs.append((name, value))
    return sorted(pairs)


def passed(answer):
    pairs = []
    for name, value in answer.headers:
        name = name.lower()
        # The upstream's own passes beside ours.
        is_ours = (name == "server-timing" and "total;dur=" in value) or (name, value) == VARY
        if name not in OWN and not is_ours:
            pairs.append((name, "" if name == "x-upstream-request-id" else value))
    return sorted(pairs)


VARY = ("vary", "Authorization, Cookie")


def both(stack, token, method, path, body=None, headers=()):
    """The answer of the upstream itself and the answer through the product."""
    straight = call(stack.mock_url, method, path, body, headers, token=CANARY_KEY)
    through = call(stack.url, method, path, body, headers, token=token)
    return straight, through


def check_alike(straight, through):
    assert through.status == straight.status
    assert through.body == straight.body
    assert passed(through) == passing(straight)
    assert through.all("X-Content-Type-Options") == ["nosniff"]
    assert any("total;dur=" in value for value in through.all("Server-Timing"))
    assert VARY[1] in through.all("Vary")
    assert through.all("Content-Security-Policy") == ["sandbox; default-src 'none'"]
    assert through.all("Cross-Origin-Resource-Policy") == ["same-origin"]
    # A proxy in front of nginx learns of every stream.
    has_length = bool(through.header("Content-Length")) or through.status in (204, 304)
    if not has_length or through.header("Content-Type") == "text/event-stream":
        assert through.all("X-Accel-Buffering") == ["no"]
    assert len(through.all("X-Request-Id")) == 1 and len(through.all("Server")) == 1


def multipart(size=3000):
    content = bytes(range(256)) * (size // 256)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa9.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--b--\r\n"
    )
    return body, [("Content-Type", "multipart/form-data; boundary=b")]


AS_JSON = [("Content-Type", JSON)]
CASES = {
    "models": ("GET", "/v1/models"),
    "a model": ("GET", "/v1/models/gpt-4o"),
    "a model with a slash": ("GET", "/v1/models/acme%2Fmodel-1"),
    "a missing model": ("GET", "/v1/models/missing-1"),
    "an unknown path": ("GET", "/v1/no/such/thing"),
    "the root": ("GET", "/v1/"),
    "a wrong method": ("DELETE", "/v1/models"),
    "chat": ("POST", "/v1/chat/completions", chat(), AS_JSON),
    "streamed chat": ("POST", "/v1/chat/completions", chat(stream=True), AS_JSON),
    "streamed chat with usage": (
        "POST", "/v1/chat/completions",
        chat(stream=True, stream_options={"include_usage": True}), AS_JSON,
    ),
    "empty choices": ("POST", "/v1/chat/completions", chat("mock?empty-choices"), AS_JSON),
    "empty choices streamed": (
        "POST", "/v1/chat/completions", chat("mock?empty-choices", stream=True), AS_JSON,
    ),
    "a body that is no JSON": ("POST", "/v1/chat/completions", b"\xff{", AS_JSON),
    "a reply that is no JSON": ("POST", "/v1/chat/completions", chat("mock?garbage-json"), AS_JSON),
    "events that are no JSON": (
        "POST", "/v1/chat/completions", chat("mock?garbage-json", stream=True), AS_JSON,
    ),
    "words beyond ASCII": (
        "POST", "/v1/chat/completions", chat(stream=True, content="ñandú 🦤 \x00"), AS_JSON,
    ),
    "completions": ("POST", "/v1/completions", b'{"model":"mock","prompt":"x"}', AS_JSON),
    "streamed completions": (
        "POST", "/v1/completions", b'{"model":"mock","prompt":"x","stream":true}', AS_JSON,
    ),
    "embeddings": ("POST", "/v1/embeddings", b'{"model":"mock","input":["a","b"]}', AS_JSON),
    "an upload": ("POST", "/v1/files", *multipart()),
    "an upload without a body": ("POST", "/v1/files"),
    "a binary download": ("GET", "/v1/files/file-1/content?bytes=100000"),
    "a binary download in pieces": (
        "GET", "/v1/files/file-1/content?bytes=300000&chunks=7&no-content-length",
    ),
    "an empty download": ("GET", "/v1/files/file-1/content?bytes=0"),
    "a download of 8 MiB": ("GET", "/v1/files/file-1/content?bytes=8388608"),
    "pieces": ("GET", "/v1/models?chunks=5"),
    "chunked": ("GET", "/v1/models?no-content-length"),
    "a closing upstream": ("GET", "/v1/models?close"),
    "a closing upstream without length": ("GET", "/v1/models?close&no-content-length"),
    "filler": ("POST", "/v1/chat/completions", chat("mock?bytes=200000"), AS_JSON),
    "400": ("POST", "/v1/chat/completions", b"{}", AS_JSON),
    "400 with a parameter": ("POST", "/v1/embeddings", b'{"model":"mock"}', AS_JSON),
    "403": ("GET", "/v1/models?status=403"),
    "404": ("POST", "/v1/chat/completions", chat("missing"), AS_JSON),
    "418": ("GET", "/v1/models?status=418"),
    "429": ("POST", "/v1/chat/completions", chat("mock?status=429&retry-after=7"), AS_JSON),
    "500": ("GET", "/v1/models?status=500"),
    "503": ("GET", "/v1/models?status=503&retry-after=9"),
    "201": ("GET", "/v1/models?status=201"),
    "204": ("GET", "/v1/models?status=204"),
    "304": ("GET", "/v1/models?status=304&header=ETag:%22a%22"),
    "headers that pass": (
        "GET",
        "/v1/models?header=ETag:%22x%22&header=Cache-Control:max-age%3D60&header=Expires:0"
        "&header=Vary:Accept&header=X-Multi:1&header=X-Multi:2&header=Location:/v1/x"
        "&header=Content-Disposition:attachment&header=X-Request-Cost:0.1&header=Link:%3Ca%3E"
        "&header=Content-Language:es&header=WWW-Authenticate:x&header=Last-Modified:x",
    ),
    "headers that do not pass": (
        "GET",
        "/v1/models?header=Status:500&header=X-Accel-Redirect:/etc/passwd&header=X-Accel-Expires:9"
        "&header=X-Accel-Limit-Rate:1&header=X-Accel-Buffering:yes&header=X-Accel-Charset:x"
        "&header=Access-Control-Allow-Origin:*&header=Access-Control-Allow-Credentials:true"
        "&header=Refresh:0&header=Clear-Site-Data:*&header=Keep-Alive:timeout%3D1"
        "&header=Proxy-Authenticate:x&header=Trailer:x&header=Upgrade:h2c",
    ),
    "headers of newer browsers that do not pass": (
        "GET",
        "/v1/models?header=NEL:x&header=Report-To:x&header=Reporting-Endpoints:x"
        "&header=Content-Security-Policy-Report-Only:x&header=Service-Worker-Allowed:/"
        "&header=Accept-CH:x&header=Critical-CH:x&header=Origin-Trial:x&header=Onion-Location:x"
        "&header=Set-Cookie2:x&header=Public-Key-Pins:x&header=Public-Key-Pins-Report-Only:x"
        "&header=Expect-CT:x&header=SourceMap:x&header=X-SourceMap:x&header=X-Sendfile:/etc/passwd"
        "&header=Timing-Allow-Origin:*&header=Cross-Origin-Resource-Policy:cross-origin"
        "&header=Cross-Origin-Opener-Policy:x&header=Cross-Origin-Embedder-Policy:x",
    ),
    "a redirect": ("GET", "/v1/models?status=302&header=Location:http://127.0.0.1:1/"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_answer_through_the_product_is_the_upstreams_own(stack, token, pool, name):
    check_alike(*both(stack, token, *CASES[name]))


def test_headers_that_connection_names_do_not_pass(stack, token):
    path = "/v1/models?header=X-Hop:1&header=X-Stay:1&header=Connection:X-Hop"
    answer = call(stack.url, "GET", path, token=token)
    assert answer.header("X-Stay") == "1" and not answer.all("X-Hop")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS"])
@pytest.mark.parametrize("body", [None, b"", b"\x00\xff" * 5000], ids=["none", "empty", "bytes"])
def test_method_address_and_body_arrive_as_they_were_sent(stack, token, method, body):
    path = "/v1/echo/%C3%a9/~x;y=1,2:@!$&'()*/%20%25+" + QUERY
    straight, through = both(stack, token, method, path, body)
    assert through.status == straight.status == 200
    sent, arrived = straight.json, through.json
    for name in ("method", "uri", "body_base64", "body_sha256", "body_bytes"):
        assert arrived[name] == sent[name]
    assert arrived["uri"] == path and arrived["method"] == method


def test_head_is_passed_on_as_head(stack, token):
    straight, through = both(stack, token, "HEAD", "/v1/echo?x=1")
    assert (through.status, through.body) == (200, b"")
    assert through.header("Content-Type") == straight.header("Content-Type")
    stack.mock_delete("/mock/calls")
    call(stack.url, "HEAD", "/v1/models?chunks=3", token=token)
    stack.mock(f"/mock/wait?in-flight={stack.held_calls}")
    [row] = stack.mock("/mock/calls")
    assert (row["method"], row["end"]) == ("HEAD", "done")


def echoed(stack, token, headers, method="POST", body=b"x"):
    answer = exchange(stack.url, raw_request(method, "/v1/echo", token, body, headers))
    assert answer.status == 200
    return [(name.lower(), value) for name, value in answer.json["headers"]]


ALLOWED = [
    ("Accept", "text/event-stream, */*;q=0.1"),
    ("Accept-Language", "es-ES,es"),
    ("OpenAI-Beta", "assistants=v2"),
    ("Idempotency-Key", "key-1"),
    ("User-Agent", "OpenAI/Python 9.9"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Retry-Count", "0"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "a=b"),
    ("Content-Encoding", "gzip"), ("Content-Language", "es"), ("Range", "bytes=0-5"),
    ("If-Range", '"a"'), ("If-Match", '"a"'), ("If-None-Match", '"a"'),
    ("If-Modified-Since", "Sat, 28 Nov 2026 00:00:00 GMT"),
    ("If-Unmodified-Since", "Sat, 28 Nov 2026 00:00:00 GMT"), ("Prefer", "wait=5"),
    ("X-Client-Request-Id", "client-1"), ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "x"), ("HTTP-Referer", "https://app.example"),
    ("Referer", "http://localhost/"), ("X-Title", "app"), ("session-id", "s"), ("thread-id", "t"),
    ("originator", "codex_cli_rs"), ("x-codex-turn-state", "x"),
]  # fmt: skip
KEPT_HERE = [
    ("Cookie", "sess=x; other=y"), ("Forwarded", "for=1.2.3.4"), ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Host", "evil.example"), ("X-Real-IP", "1.2.3.4"), ("Origin", "http://localhost"),
    ("X-Codex", "x"), ("OpenAI-Organization", "org-evil"),
    ("OpenAI-Project", "proj-evil"), ("api-key", "sk-evil"), ("x-api-key", "sk-evil"),
    ("Proxy", "http://evil.example"), ("Proxy-Authorization", "Basic x"), ("TE", "trailers"),
    ("Connection", "X-Own"), ("X-Own", "1"), ("Keep-Alive", "9"), ("Via", "1.1 x"),
    ("Sec-Fetch-Site", "same-origin"), ("X-Accel-Redirect", "/x"), ("Accept-Encoding", "gzip"),
]  # fmt: skip
# What a call has of its own.
OF_THE_CALL = {"host", "authorization", "content-length", "content-type"}


def test_request_headers_go_by_an_allow_list(stack, token):
    arrived = echoed(stack, token, ALLOWED + KEPT_HERE)
    assert arrived.count(("content-type", JSON)) == 1
    others = sorted(pair for pair in arrived if pair[0] not in OF_THE_CALL)
    assert others == sorted((name.lower(), value) for name, value in ALLOWED)
    host = urllib.parse.urlsplit(stack.upstream_url).netloc
    assert [value for name, value in arrived if name == "host"] == [host]


def test_nothing_is_added_to_a_bare_request(stack, token):
    names = [name for name, _ in echoed(stack, token, [], "GET", b"")]
    assert sorted(names) == ["authorization", "host"]


def test_the_key_goes_out_and_a_quoted_one_comes_back_as_asterisks(stack, token):
    """The mock refuses calls without the key, and its echo shows all headers it got."""
    [shown] = [value for name, value in echoed(stack, token, []) if name == "authorization"]
    assert shown == "Bearer " + "*" * len(CANARY_KEY)
    for path in ("/v1/echo?quote-key&status=400", "/v1/models?quote-key&status=500&chunks=9"):
        straight, through = both(stack, token, "GET", path)
        assert CANARY_KEY.encode() in straight.body
        hidden = straight.body.replace(CANARY_KEY.encode(), b"*" * len(CANARY_KEY))
        assert (through.status, through.body) == (straight.status, hidden)
        assert through.header("Content-Length") == straight.header("Content-Length")


def test_a_part_of_the_key_in_an_error_is_masked_and_in_a_header_too(stack, token):
    part = CANARY_KEY[:12]
    path = f"/v1/models/missing-{part}?header=X-Quote:{CANARY_KEY}"
    straight, through = both(stack, token, "GET", path)
    assert part.encode() in straight.body and part.encode() not in through.body
    assert len(through.body) == len(straight.body)
    assert through.header("X-Quote") == "*" * len(CANARY_KEY)


@pytest.fixture(scope="module")
def raw(stack):
    """A worker whose upstream is known by name to a proxy alone, and answers bytes that a test gives."""
    with RawUpstream() as upstream:
        settings = {
            "API_URL": "http://upstream.invalid:81",
            "UPSTREAM_PROXY": "environment",
            "HTTP_PROXY": upstream.url.replace("//", "//me:canary-of-the-proxy@"),
            "NO_PROXY": "elsewhere.invalid",
            "FORWARD_HEADERS": "X-Team-*",
        }
        with Stack(
            workers=1, mock=False, state_directory=stack.state_directory, settings=settings
        ) as other:
            upstream.product = other
            yield upstream


def test_a_call_through_a_proxy_names_the_whole_address(raw, token):
    raw.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    headers = [("X-Team-Name", "red"), ("X-Other", "x")]
    request = raw_request("POST", "/v1/a%20b?x=%2F", token, b"{}", headers)
    assert exchange(raw.product.url, request).body == b"ok"
    head = raw.heads[-1]
    assert head.startswith(b"POST http://upstream.invalid:81/v1/a%20b?x=%2F HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic " in head and b"\r\nX-Team-Name: red\r\n" in head
    assert b"X-Other" not in head
    assert "canary-of-the-proxy" not in raw.product.worker_log(0)


def test_bytes_of_headers_that_are_no_utf_8_pass_both_ways(raw, token):
    odd = "a\xe9\xff\x80z"
    raw.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Raw: " + odd.encode("latin-1") + (
        b"\r\n\r\n"
    )
    request = raw_request("GET", "/v1/x", token, b"", [("X-Title", odd)])
    assert exchange(raw.product.url, request).header("X-Raw") == odd
    assert b"\r\nX-Title: " + odd.encode("latin-1") + b"\r\n" in raw.heads[-1]


# A query that is no UTF-8, as it stands in a request line.
ODD_QUERY = "a=\xff\xe9&\xc3=\x80&b=%FF"


def test_bytes_of_a_query_that_are_no_utf_8_pass(raw, token):
    raw.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    target = "/v1/x?" + ODD_QUERY
    answer = exchange(raw.product.url, raw_request("POST", target, token, b"{}"))
    assert (answer.status, answer.body) == (200, b"ok")
    line = f"POST http://upstream.invalid:81{target} HTTP/1.1\r\n"
    assert raw.heads[-1].startswith(line.encode("latin-1"))
    request_id = answer.header("X-Request-Id")
    statement = f"SELECT path FROM events WHERE request_id = '{request_id}'"
    assert database.rows_of_copy(raw.product, statement) == [{"path": "/v1/x"}]


def test_no_byte_of_a_query_ends_the_request_line(raw, token):
    count = len(raw.heads)
    for byte in (*range(0x0A), *range(0x0B, 0x0D), *range(0x0E, 0x21), 0x7F):
        target = f"/v1/x?\xff{chr(byte)}X:y"
        answer = exchange(raw.product.url, raw_request("GET", target, token))
        check_error(answer, 400, "invalid_request")
    assert len(raw.heads) == count


def test_length_zero_of_a_delete_stays(raw, token):
    raw.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for headers, announced in (([("Content-Length", "0")], 1), ([], 0)):
        request = raw_request("DELETE", "/v1/x", token, b"", headers)
        assert exchange(raw.product.url, request).status == 200
        assert raw.heads[-1].lower().count(b"content-length: 0\r\n") == announced


@pytest.mark.parametrize("length", [5, 500])
def test_chunks_win_over_a_length_beside_them(raw, token, length):
    raw.answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"b\r\nhello world\r\n0\r\n\r\n" % length
    )
    answer = exchange(raw.product.url, raw_request("GET", "/v1/x", token))
    assert (answer.status, answer.body) == (200, b"hello world")


@pytest.mark.parametrize(
    "length", [b"-1", b"+5", b"5, 5", b"5 5", b"9223372036854775808", b"5\r\nContent-Length: 6"]
)
def test_a_length_that_is_no_number_is_502(raw, token, length):
    raw.answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nhello world"
    answer = exchange(raw.product.url, raw_request("GET", "/v1/x", token))
    check_error(answer, 502, "upstream_error")


def test_a_redirect_is_not_followed(stack, token):
    target = urllib.parse.quote(f"{stack.mock_url}/v1/echo")
    stack.mock_delete("/mock/calls")
    path = f"/v1/echo?status=307&header=Location:{target}"
    answer = call(stack.url, "POST", path, b"x", token=token)
    assert answer.status == 307 and answer.header("Location") == f"{stack.mock_url}/v1/echo"
    assert len(stack.mock("/mock/calls")) == 1


def test_garbage_and_a_status_of_401_from_upstream_are_502(stack, token, pool):
    answer = call(stack.url, "GET", "/v1/models?garbage", token=token)
    check_error(answer, 502, "upstream_error")
    answer = call(stack.url, "GET", "/v1/models?status=401", token=token)
    check_error(answer, 502, "upstream_auth")
    assert answer.header("x-should-retry") == "false"


# Uploads


def test_an_upload_of_25_mebibytes_loses_no_byte(stack, token):
    body, headers = multipart(25 << 20)
    answer = call(stack.url, "POST", "/v1/files", body, headers, token=token)
    assert answer.status == 200
    assert answer.json["sha256"] == hashlib.sha256(body).hexdigest()
    assert answer.json["bytes"] == 25 << 20


def test_an_upload_in_chunks_of_unknown_number_loses_no_byte(stack, token):
    body, headers = multipart(1 << 20)
    pieces = (body[start : start + 77_777] for start in range(0, len(body), 77_777))
    connection = client.connect(stack.url)
    fields = dict(headers) | {"Authorization": f"Bearer {token}"}
    connection.request("POST", "/v1/files", pieces, fields, encode_chunked=True)
    response = connection.getresponse()
    answer = Answer(response.status, response.getheaders(), response.read())
    connection.close()
    assert answer.json["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_body_after_expect_100_continue_arrives(stack, token):
    code, output, trace = client.curl(
        "-H", f"Authorization: Bearer {token}", "-H", "Expect: 100-continue",
        "-d", "x" * 3000, f"{stack.url}/v1/echo",
    )  # fmt: skip
    assert code == 0, trace
    answer = json.loads(output)
    assert answer["body_bytes"] == 3000
    assert "expect" not in {name.lower() for name, _ in answer["headers"]}
