"""Where calls go: the forms of API_URL, Azure, an upstream with TLS, a wrong key."""

import contextlib
import time

import pytest
from client import (
    JSON,
    call,
    chat,
    check_error,
    curl,
    raw_request,
    raw_socket,
    read_to_end,
)
from stack import CANARY_KEY, Stack, wait_for

# As in production: TLS to the upstream, and hundreds of calls open beside the tests.
STACK = {"upstream_tls": True}
CROWD = 200


@contextlib.contextmanager
def beside(stack, **settings):
    """One more worker with an nginx of its own, over the same database."""
    key = settings.pop("key", CANARY_KEY)
    settings.setdefault("SSL_CERT_FILE", stack.ca_file)
    with Stack(
        workers=1, mock=False, key=key, state_directory=stack.state_directory, settings=settings
    ) as other:
        yield other


def called(stack, url, token, method, path, body=None, kind=JSON):
    """The answer, and the addresses that the upstream was called at."""
    stack.mock_delete("/mock/calls")
    headers = [("Content-Type", kind)] if body is not None else []
    answer = call(url, method, path, body, headers, token=token)
    return answer, [row["uri"] for row in stack.mock("/mock/calls")]


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_end_of_api_url_does_not_matter(stack, token, suffix):
    with beside(stack, API_URL=stack.upstream_url + suffix) as other:
        for path in ("/v1/models", "/v1/echo/v1/x?a=/v1"):
            answer, addresses = called(stack, other.url, token, "GET", path)
            assert answer.status == 200 and addresses == [path]


def test_an_upstream_on_the_same_host_may_do_without_tls(stack, token):
    with beside(stack, API_URL=stack.mock_url) as other:
        answer, addresses = called(stack, other.url, token, "POST", "/v1/echo", b"x")
        assert answer.status == 200 and addresses == ["/v1/echo"]
        body = chat(stream=True)
        streamed, _ = called(stack, other.url, token, "POST", "/v1/chat/completions", body)
        assert streamed.body.endswith(b"data: [DONE]\n\n")


@pytest.fixture(scope="module")
def azure(stack):
    address = "/openai/deployments/my-deployment/completions?api-version=2022-12-01"
    with beside(stack, API_URL=stack.upstream_url + address, API_TYPE="azure") as other:
        yield other


DEPLOYMENT = "/openai/deployments/my-deployment"


@pytest.mark.parametrize(
    "method, path, target",
    [
        ("POST", "/v1/chat/completions", DEPLOYMENT + "/chat/completions"),
        ("POST", "/v1/completions", DEPLOYMENT + "/completions"),
        ("POST", "/v1/embeddings", DEPLOYMENT + "/embeddings"),
        ("POST", "/v1/audio/transcriptions", DEPLOYMENT + "/audio/transcriptions"),
        ("POST", "/v1/images/generations", DEPLOYMENT + "/images/generations"),
        ("GET", "/v1/models", "/openai/models"),
        ("GET", "/v1/files/file-1/content", "/openai/files/file-1/content"),
        ("GET", "/v1/batches", "/openai/batches"),
    ],
)
def test_azure_deployment_urls_serve_their_siblings(stack, token, azure, method, path, target):
    body = {
        "/v1/chat/completions": chat(),
        "/v1/completions": b'{"prompt":"x"}',
        "/v1/embeddings": b'{"input":"x"}',
    }.get(path, b"x" if method == "POST" else None)
    answer, addresses = called(stack, azure.url, token, method, path, body)
    assert addresses == [target + "?api-version=2022-12-01"]
    # The mock knows no batches; that its 404 is Azure's own shows that the key was taken.
    assert answer.status == (404 if path == "/v1/batches" else 200), answer


def test_the_operators_api_version_wins(stack, token, azure):
    path = "/v1/models?limit=1&api-version=1999-01-01&API-Version=1998&x=%20"
    answer, [address] = called(stack, azure.url, token, "GET", path)
    assert answer.status == 200
    pairs = sorted(address.split("?")[1].split("&"))
    assert pairs == ["api-version=2022-12-01", "limit=1", "x=%20"]


@pytest.mark.parametrize("path", ["/v1/threads", "/v1/responses", "/v1/chat", "/v1/"])
def test_what_an_azure_deployment_has_not_is_404_naming_the_path(stack, token, azure, path):
    answer, addresses = called(stack, azure.url, token, "POST", path, b"{}")
    assert path in check_error(answer, 404, "not_found")["message"]
    assert addresses == []


def test_azure_gets_its_own_header_for_the_key(stack, token, azure):
    answer, _ = called(stack, azure.url, token, "POST", "/v1/images/generations", b"{}")
    headers = {name.lower(): value for name, value in answer.json["headers"]}
    assert headers["api-key"] == "*" * len(CANARY_KEY) and "authorization" not in headers


def test_azures_newer_address_is_used_as_it_stands(stack, token):
    with beside(stack, API_URL=stack.upstream_url + "/openai/v1/", API_TYPE="azure") as other:
        for path in ("/v1/models", "/v1/echo/x?a=1"):
            answer, addresses = called(stack, other.url, token, "GET", path)
            assert answer.status == 200
            assert addresses == ["/openai" + path]


def test_a_wrong_key_is_the_operators_trouble_and_not_the_clients(stack, token):
    wrong = "sk-wrong-0123456789abcdef"
    with beside(stack, API_URL=stack.upstream_url, key=wrong) as other:
        answer = call(other.url, "GET", "/v1/models", token=token)
        check_error(answer, 502, "upstream_auth")
        assert answer.header("x-should-retry") == "false"
        assert not answer.all("WWW-Authenticate")
        assert wrong[:8] not in answer.body.decode() and wrong[-4:] not in answer.body.decode()
        assert "key" in other.worker_log(0) and wrong[:8] not in other.worker_log(0)


def test_without_a_key_no_authorization_is_sent(stack, token):
    with Stack(
        workers=1, key=None, upstream_tls=True, state_directory=stack.state_directory
    ) as other:
        answer = call(other.url, "GET", "/v1/echo", token=token)
        names = [name.lower() for name, _ in answer.json["headers"]]
        assert "authorization" not in names and "api-key" not in names


def test_an_upstream_that_refuses_connections_is_502(stack, token):
    with beside(stack, API_URL="http://127.0.0.1:9") as other:
        answer = call(other.url, "POST", "/v1/chat/completions", chat(), token=token)
        check_error(answer, 502, "upstream_error")


@pytest.fixture(scope="module")
def secure():
    with Stack(tls=True) as running:
        yield running


def test_an_upstream_with_tls_is_called_over_http_1_1_though_it_offers_http_2(secure):
    token, _ = secure.signup()
    for _ in range(5):
        answer = call(secure.url, "POST", "/v1/echo", b"x", token=token)
        headers = {name.lower(): value for name, value in answer.json["headers"]}
        assert headers["protocol-of-call"] == "HTTP/1.1"
    streamed = call(
        secure.url, "POST", "/v1/chat/completions", chat(stream=True), {"Content-Type": JSON}, token
    )
    assert streamed.body.endswith(b"data: [DONE]\n\n")


def test_a_cut_stream_over_tls_aborts_its_client_and_no_other(secure):
    token, _ = secure.signup()
    with raw_socket(secure.url) as neighbour, raw_socket(secure.url) as cut:
        body = chat("mock?chunks=9&chunk-delay-ms=100", stream=True)
        closing = [("Connection", "close")]
        neighbour.sendall(raw_request("POST", "/v1/chat/completions", token, body, closing))
        body = chat("mock?chunks=9&cut-after=3", stream=True)
        cut.sendall(raw_request("POST", "/v1/chat/completions", token, body, closing))
        data = read_to_end(cut)
        assert data.startswith(b"HTTP/1.1 200") and not data.endswith(b"0\r\n\r\n")
        data = read_to_end(neighbour)
        assert b"data: [DONE]" in data and data.endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_ends_its_call_over_tls_beside_a_silent_one(secure):
    token, _ = secure.signup()
    body = chat("mock?endless&chunk-delay-ms=60000", stream=True)
    with raw_socket(secure.url) as silent:
        silent.sendall(raw_request("POST", "/v1/chat/completions?stays", token, body))
        assert silent.recv(65536).startswith(b"HTTP/1.1 200")
        check_leaving(secure, token)


def check_leaving(secure, token):
    path = "/v1/chat/completions?leaves"
    body = chat("mock?endless&chunk-delay-ms=60000", stream=True)
    with raw_socket(secure.url) as connection:
        connection.sendall(raw_request("POST", path, token, body))
        seen = b""
        while seen.count(b"data: ") < 2:
            seen += connection.recv(65536)
        left = time.time() * 1000

    def gone():
        [row] = [row for row in secure.mock("/mock/calls") if row["uri"] == path]
        return row["end"] == "peer_closed" and row

    delay = wait_for(gone, "the upstream to see it")["ended_ms"] - left
    print(f"the upstream saw the close after {delay:.1f} ms")
    assert delay < 5000
    assert call(secure.url, "GET", "/v1/models", token=token).status == 200


def test_a_client_may_speak_http_2(secure):
    token, _ = secure.signup()
    code, output, trace = curl(
        "--http2", "--cacert", secure.ca_file, "-w", "%{http_version}", "-o", "/dev/null",
        "-H", f"Authorization: Bearer {token}", f"{secure.tls_url}/v1/models",
    )  # fmt: skip
    assert (code, output) == (0, b"2"), trace


def test_a_certificate_that_nobody_signed_is_not_believed(secure):
    empty = {"SSL_CERT_FILE": None, "API_URL": secure.upstream_url}
    with Stack(
        workers=1, mock=False, settings=empty, state_directory=secure.state_directory
    ) as other:
        token, _ = other.signup()
        answer = call(other.url, "GET", "/v1/models", token=token)
        check_error(answer, 502, "upstream_error")
