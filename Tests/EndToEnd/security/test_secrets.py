"""Canaries: the key, a password and tokens are searched for in everything the product leaves.

They take every way there is, workers are killed in mid-request, and the upstream quotes the key.
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import urllib.parse

import client
import database
import pytest
from client import FORM, JSON, basic, call, chat, raw_request, raw_socket
from stack import CANARY_KEY, Stack, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

CLOSING = [("Connection", "close")]
PASSWORD = "canary-password-7d41"
# What callers put into bodies, and an upstream would make for them.
SECRET = "canary-secret-a93e"


class Canaries:
    """What was answered, stored and logged while secrets were about."""

    def __init__(self):
        self.tokens, self.answers, self.environments, self.command_lines = [], [], [], []
        self.logs, self.files, self.killed = {}, {}, []


@pytest.fixture(scope="module")
def found():
    found = Canaries()
    with Stack(settings={"LOG_LEVEL": "trace"}) as stack:
        use_everything(stack, found)
        use_realtime(stack, found)
        for path in ("/live", "/ready", "/metrics", f"/status?json&full&token={found.tokens[0]}"):
            found.answers.append(call(stack.url, "GET", path))
            assert found.answers[-1].status == 200, path
        for process in [*stack.workers, stack.streamer]:
            proc = pathlib.Path("/proc", str(process.pid))
            found.environments.append(proc.joinpath("environ").read_bytes())
            found.command_lines.append(proc.joinpath("cmdline").read_bytes())
        kill_in_mid_request(stack, found)
        database.stop_workers(stack)
        found.logs = stack.logs()
        for path in pathlib.Path(stack.state_directory).rglob("*"):
            # The streamer's sockets are there too.
            if path.is_file():
                found.files[path.name] = path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"
        yield found


def use_everything(stack, found):
    def do(method, path, body=None, headers=(), **options):
        answer = call(stack.url, method, path, body, headers, **options)
        found.answers.append(answer)
        return answer

    form = {"username": "canary", "password": PASSWORD}
    token = do("POST", "/user/signup", form=form).json["token"]
    found.tokens = [token]
    found.tokens += [do("POST", "/user/login", form=form).json["token"] for _ in range(4)]
    do("POST", "/user/login", form=form | {"password": PASSWORD + "x"})
    do("POST", "/user/login?password=" + PASSWORD, form={"username": "canary"})
    do("POST", "/user/signup", json=form)
    do("POST", "/user/signup", form={"username": "x/y", "password": PASSWORD})
    do("POST", "/user/signup", f'{{"username":"a","password":"{PASSWORD}"', {"Content-Type": JSON})
    do("POST", "/user/signup", f"password={PASSWORD}&username=%zz", {"Content-Type": FORM})
    do("POST", "/user/signup", f"password={PASSWORD}&password={PASSWORD}", {"Content-Type": FORM})
    form = {"old_password": PASSWORD, "new_password": PASSWORD + "-2"}
    do("POST", "/user/password/update", token=token, form=form)
    form = {"old_password": PASSWORD + "-2", "new_password": PASSWORD}
    do("POST", "/user/password/update", token=token, form=form)

    # Tokens in every place, right and wrong ones.
    ways = [
        {"Authorization": f"Bearer {token}"}, {"Authorization": basic("canary", token)},
        {"Cookie": f"sess={token}"}, {"Authorization": basic("another", token)},
        {"Authorization": f"Bearer {token}x"}, {"Authorization": f"Token {token}"},
        {"Cookie": f"sess={token}\x01"}, {"X-Token": token, "Cookie": f"a={token}"},
        {"Referer": f"{stack.url}/chat/stream?token={token}", "User-Agent": "x"},
    ]  # fmt: skip
    for headers in ways:
        for path in ("/user/session", "/v1/models", f"/chat/stream?token={token}"):
            do("GET", path, headers=headers)
    for path in ("/v1/../", "/v1/%00", "/user/logout/%00", "//user/logout", "/chat/stream"):
        request = raw_request("GET", f"{path}?token={token}")
        found.answers.append(client.exchange(stack.url, request))
    do("POST", f"/user/logout?token={token}&token={token}")
    do("POST", f"/user/logout?token={token}x")

    # The upstream shows what it got.
    queries = [
        "", "?status=400&quote-key", "?status=500&quote-key", "?status=401&quote-key",
        "?chunks=50", f"?header=X-Quote:{CANARY_KEY}", "?cut-after=0", "?garbage",
    ]  # fmt: skip
    for query in queries:
        with contextlib.suppress(client.http.client.HTTPException, OSError):
            do("POST", f"/v1/echo{query}", b"{}", token=token)
    do("POST", "/v1/chat/completions", chat(content=f"my key is {CANARY_KEY}"),
       {"Content-Type": JSON}, token=token)  # fmt: skip
    body = chat(content=f"my key is {CANARY_KEY}", stream=True)
    do("POST", "/v1/chat/completions", body, {"Content-Type": JSON}, token=token)
    nested = json.dumps({"arguments": json.dumps({"headers": {"X-A": SECRET}})})
    bodies = [
        (JSON, json.dumps({"password": SECRET, "tools": [{"authorization": SECRET}]})),
        (JSON, nested), (JSON, json.dumps({"client_secret": {"value": SECRET}})),
        (JSON, json.dumps({"input": f"use sk-{SECRET} or Bearer {SECRET}"})),
        (JSON, json.dumps({"a": "x" * 16_345, "api_key": SECRET})),
        (FORM, f"a=b&client_secret={SECRET}"),
        ("multipart/form-data; boundary=x",
         f'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n{SECRET}\r\n--x--\r\n'),
    ]  # fmt: skip
    for kind, body in bodies:
        for path in ("/v1/echo", "/v1/responses"):
            do("POST", path, body, {"Content-Type": kind}, token=token)
    for part in (CANARY_KEY[:16], CANARY_KEY[-16:]):
        do("GET", f"/v1/models/missing-{part}", token=token)


def use_realtime(stack, found):
    """WebSockets to the upstream, whose frames go through a mask of their own."""
    token = found.tokens[0]
    bearer = {"Authorization": f"Bearer {token}"}
    browser = ["realtime", f"openai-insecure-api-key.{token}"]
    ways = [
        ("?quote-key", bearer, None), (f"?a={token}", {}, browser),
        (f"?close-code=4000&close-reason={CANARY_KEY}", bearer, None),
        ("?status=400&quote-key", bearer, None), ("?status=401&quote-key", {}, browser),
        (f"?token={token}", {}, None), ("", {"Authorization": f"Bearer {token}x"}, None),
    ]  # fmt: skip
    url = stack.url.replace("http", "ws", 1) + "/v1/realtime"
    for query, headers, offered in ways:
        try:
            with connect(
                url + query, additional_headers=headers, subprotocols=offered, proxy=None
            ) as opened:
                head = opened.response.headers
                seen = []
                with contextlib.suppress(ConnectionClosed):
                    for message in (f"my key is {CANARY_KEY}", CANARY_KEY[:9], b"last"):
                        opened.send(message)
                    while not seen or seen[-1] != b"last":
                        seen.append(opened.recv(timeout=15))
                close = opened.close_reason or ""
            seen = [text if isinstance(text, bytes) else text.encode() for text in seen]
            body = b"\n".join([*seen, close.encode()])
            found.answers.append(client.Answer(101, list(head.raw_items()), body))
        except InvalidStatus as refused:
            response = refused.response
            headers = list(response.headers.raw_items())
            found.answers.append(client.Answer(response.status_code, headers, bytes(response.body)))
    # The streamer dies while nginx waits for it.
    handshake = [("Upgrade", "websocket"), ("Connection", "Upgrade"),
                 ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "A" * 22 + "==")]  # fmt: skip
    with raw_socket(stack.url) as waiting:
        path = f"/v1/realtime?hang&api-key={token}"
        waiting.sendall(raw_request("GET", path, token, headers=handshake))
        wait_for(
            lambda: [row for row in stack.mock("/mock/calls") if "?hang" in row["uri"]],
            "the call to arrive",
        )
        stack.kill_streamer()
        assert client.exchange_on(waiting).status == 502
    stack.start_streamer()


def kill_in_mid_request(stack, found):
    """Workers die while nginx waits for them: it writes the request line to its error log.

    They stand still first, so that each request is in the middle when they die and their socket
    closes.
    """
    token = found.tokens[0]
    paths = [
        f"/user/logout?token={token}x", f"/user/login?username=a&password={PASSWORD}",
        f"/user/signup?password={PASSWORD}", f"/user/session?token={token}",
    ]  # fmt: skip
    with contextlib.ExitStack() as opened:
        for process in stack.workers:
            os.kill(process.pid, signal.SIGSTOP)
        waiting = []
        for path in paths * 4:
            waiting.append(opened.enter_context(raw_socket(stack.url)))
            waiting[-1].sendall(raw_request("POST", path, headers=CLOSING))
        for process in list(stack.workers):
            stack.kill_worker(process)
        stack.close_sockets()
        found.killed = [client.read_to_end(connection) for connection in waiting]
    for path in paths:
        found.answers.append(call(stack.url, "POST", path))
    stack.open_sockets()
    stack.start_worker()
    found.answers.append(call(stack.url, "GET", f"/user/logout?token={token}"))


def forms_of(secret):
    """The secret as it is, as Basic would carry its end, and escaped for a query."""
    encoded = base64.b64encode(f"canary:{secret}".encode())
    return [secret.encode(), encoded, urllib.parse.quote(secret).encode()]


def search(name, content, secret):
    content = content if isinstance(content, bytes) else content.encode()
    for form in forms_of(secret):
        at = content.find(form)
        assert at < 0, f"{name}: …{content[max(0, at - 200) : at + 10]!r}"


def test_the_key_is_in_no_answer(found):
    assert len(found.answers) > 67
    for answer in found.answers:
        search("an answer", answer.body + repr(answer.headers).encode(), CANARY_KEY)


def test_no_long_part_of_the_key_is_in_an_answer(found):
    for answer in found.answers:
        whole = answer.body + repr(answer.headers).encode()
        for start in range(0, len(CANARY_KEY) - 11):
            assert CANARY_KEY[start : start + 12].encode() not in whole, answer


def test_secrets_in_bodies_are_in_no_file(found):
    """Not even the beginning of one that the cut goes through."""
    for name, content in {**found.files, **found.logs}.items():
        search(name, content, SECRET[:13])
    stored = b"".join(found.files.values())
    assert b"client_secret" in stored and b"***" in stored


def test_workers_died_in_mid_request(found):
    """Otherwise the tests of the logs would look at nothing."""
    assert len(found.killed) == 16
    for data in found.killed:
        assert data.startswith(b"HTTP/1.1 502") and b'"upstream_error"' in data


def test_the_key_is_in_no_log(found):
    assert len(found.logs) > 4
    for path, text in found.logs.items():
        search(path, text, CANARY_KEY)


def test_the_key_is_in_no_file(found):
    """Bodies of calls are stored, and some of them held the key."""
    assert "proxy.db" in found.files
    for name, content in found.files.items():
        search(name, content, CANARY_KEY)


def test_the_key_is_in_no_environment_and_no_command_line(found):
    assert len(found.environments) == 3
    for content in found.environments + found.command_lines:
        assert content
        search("/proc", content, CANARY_KEY)


def test_passwords_are_in_no_log_file_or_answer(found):
    for path, text in found.logs.items():
        search(path, text, PASSWORD)
    for name, content in found.files.items():
        search(name, content, PASSWORD)
    for answer in found.answers:
        search("an answer", answer.body, PASSWORD)


def test_tokens_are_in_no_log_and_no_file(found):
    """What is stored is a digest, which is there: the search itself can find something."""
    for token in found.tokens:
        for path, text in found.logs.items():
            search(path, text, token)
        for name, content in found.files.items():
            search(name, content, token)
    digests = [hashlib.sha256(token.encode()).digest() for token in found.tokens]
    stored = b"".join(found.files.values())
    assert any(digest in stored for digest in digests)


def test_tokens_are_answered_to_their_owners_alone(found):
    for answer in found.answers:
        holders = [token for token in found.tokens if token.encode() in answer.body]
        if holders:
            assert answer.status == 200 and set(answer.json) == {"token", "user"}


def test_memory_of_a_worker_is_not_dumped():
    """A core would hold the key."""
    with Stack(workers=1, mock=False, settings={"API_URL": "http://127.0.0.1:9"}) as stack:
        [process] = stack.workers
        os.kill(process.pid, signal.SIGSEGV)
        # On a busy machine the backtrace takes its time.
        process.wait(60)
        assert not [name for name in os.listdir(stack.state_directory) if name.startswith("core")]
