"""The examples in JavaScript beside the product: a web app of another origin, and a backend with its own users."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from browser import Browser, Page
from client import call, connect, send
from javascript import NODE, SKIP
from processes import free_port, wait_for
from stack import CHECKOUT, Stack
from visitors import SKIP as SKIP_WITHOUT_BROWSER
from visitors import browser  # noqa: F401  a fixture

pytestmark = SKIP

EXAMPLES = CHECKOUT / "examples"
# A reply of 40 words in two seconds, for every chat that names no model.
SLOW = "mock?chunks=40&chunk-delay-ms=50"


@contextlib.contextmanager
def example(path: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running example and the address that it has printed."""
    process = subprocess.Popen(
        [NODE, EXAMPLES / path],
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        line = process.stdout.readline()
        addresses = [word for word in line.split() if word.startswith("http://")]
        assert addresses, line + process.stdout.read()
        yield addresses[0].rstrip("/"), process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("path", ["web/index.html", "web/serve.mjs", "node-backend/server.mjs"])
def test_an_example_has_fewer_than_150_lines(path: str) -> None:
    assert len((EXAMPLES / path).read_text().splitlines()) < 150


# The web app


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[Stack, str]]:
    """The product, which allows the app's origin, and the app's address."""
    port = free_port()
    settings = {"CORS_ORIGINS": f"http://localhost:{port}", "DEFAULT_MODEL": SLOW}
    with Stack(settings=settings) as stack, example(
        "web/serve.mjs", PROXY_GPT_URL=stack.url, PORT=str(port)
    ) as (address, _):
        assert address == f"http://localhost:{port}"
        yield stack, address


@pytest.fixture
def page(app: tuple[Stack, str], browser: Browser) -> Iterator[Page]:  # noqa: F811
    stack, address = app
    opened = browser.page(address + "/")
    yield opened
    opened.evaluate("0")
    # Tokens are in no address, and no script or image is from elsewhere.
    assert {f"{url.scheme}://{url.netloc}" for url in map(urlsplit, opened.requested)} <= {address, stack.url}
    assert not [url for url in opened.requested if "pgpt" in url or "?" in url]
    expected = ("status of 401 (Unauthorized)", "status of 409 (Conflict)", "favicon.ico")
    assert [each for each in opened.complaints if not any(known in each for known in expected)] == []
    opened.close()


def enter(page: Page, name: str, button: str = "Sign up", password: str = "correct horse") -> None:
    page.fill("User name", name)
    page.fill("Password", password)
    page.click("button", button)


def replies(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.reply')].map((reply) => reply.textContent)")


@SKIP_WITHOUT_BROWSER
def test_the_page_of_another_origin_signs_up_and_shows_a_reply_that_grows(page: Page) -> None:
    enter(page, "ada")
    page.until_found("textbox", "Message")
    assert not page.find("button", "Sign up") and not page.find("textbox", "Password")
    page.evaluate("""
        window.grown = [];
        new MutationObserver(() => grown.push(document.querySelector(".reply").textContent))
          .observe(document.getElementById("messages"), { subtree: true, childList: true });
    """)
    page.fill("Message", "tell me about <b>spain</b>")
    page.click("button", "Send")
    page.until("document.getElementById('stop').disabled && grown.length", 30)
    (reply,) = replies(page)
    assert reply.startswith("echo: tell me about <b>spain</b> ") and len(reply.split()) == 40
    grown = page.evaluate("grown")
    assert len(set(grown)) > 10 and all(reply.startswith(text) for text in grown)

    page.call("Page.reload")
    page.until_found("textbox", "Message")
    wait_for(lambda: replies(page) == [reply], "the same reply after a reload")


@SKIP_WITHOUT_BROWSER
def test_the_pages_stop_button_ends_the_reply_at_the_upstream(app: tuple[Stack, str], page: Page) -> None:
    stack, _ = app
    enter(page, "stopper")
    page.fill("Message", "a long story")
    page.click("button", "Send")
    wait_for(lambda: replies(page) and len(replies(page)[0].split()) > 4, "some words")
    page.click("button", "Stop")
    page.until("document.getElementById('stop').disabled")
    assert stack.mock("/mock/wait?in-flight=0")["in_flight"] == 0
    (reply,) = replies(page)
    assert 4 < len(reply.split()) < 40
    assert page.evaluate("document.getElementById('problem').textContent") == ""


@SKIP_WITHOUT_BROWSER
def test_the_page_says_what_is_wrong_and_logs_out(page: Page) -> None:
    enter(page, "eve")
    page.until_shown("eve")
    page.click("button", "Log out")
    page.until_found("button", "Log in")
    assert page.evaluate("sessionStorage.length") == 0
    enter(page, "eve")
    page.until("document.getElementById('problem').textContent.includes('taken')")
    enter(page, "eve", "Log in", "wrong password")
    page.until("document.getElementById('problem').textContent.includes('password')")
    enter(page, "eve", "Log in")
    page.until_found("textbox", "Message")
    assert page.evaluate("document.getElementById('problem').textContent") == ""


# The backend with users of its own


@pytest.fixture(scope="module")
def backend() -> Iterator[tuple[Stack, str]]:
    settings = {"DEFAULT_MODEL": SLOW, "MAX_REPLIES_PER_USER": "1"}
    with Stack(settings=settings) as stack:
        token, _ = stack.signup("backend", "correct horse")
        environment = {"PROXY_GPT_URL": stack.url, "PROXY_GPT_TOKEN": token, "PORT": "0"}
        with example("node-backend/server.mjs", **environment) as (address, _):
            yield stack, address


def register(address: str, name: str) -> str:
    answer = call(address, "POST", "/register", json={"name": name, "password": "correct horse"})
    assert answer.status == 200, answer
    return answer.json["session"]


def lines(body: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in body.splitlines()]


def test_the_backend_streams_to_its_own_users_and_keeps_them_apart(backend: tuple[Stack, str]) -> None:
    stack, address = backend
    ada, bob = register(address, "ada"), register(address, "bob")
    connection = connect(address)
    send(connection, "POST", "/ask", b'{"text": "tell me about spain"}', token=ada)
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
    first = json.loads(response.readline())
    # The first words arrive while the model still speaks.
    assert stack.mock("/mock/stats")["in_flight"] == 1
    pieces = [first, *lines(response.read())]
    connection.close()
    assert pieces[-1]["done"] is True and pieces[-1]["state"] == "done" and len(pieces) > 10
    reply = "".join(piece["text"] for piece in pieces)
    assert reply.startswith("echo: tell me about spain ") and len(reply.split()) == 40

    history = call(address, "GET", "/history", token=ada).json
    assert [(each["prompt"], each["reply"]) for each in history] == [("tell me about spain", reply)]
    assert call(address, "GET", "/history", token=bob).json == []


def test_a_user_of_the_backend_who_leaves_ends_the_reply(backend: tuple[Stack, str]) -> None:
    stack, address = backend
    session = register(address, "leaver")
    connection = connect(address)
    send(connection, "POST", "/ask", b'{"text": "a long story"}', token=session)
    connection.getresponse().readline()
    connection.close()
    assert stack.mock("/mock/wait?in-flight=0")["in_flight"] == 0
    (message,) = wait_for(lambda: call(address, "GET", "/history", token=session).json, "the message")
    assert len(message["reply"].split()) < 40


def test_a_busy_account_is_told_to_the_backends_users_as_such(backend: tuple[Stack, str]) -> None:
    stack, address = backend
    first, second = register(address, "first"), register(address, "second")
    connection = connect(address)
    send(connection, "POST", "/ask", b'{"text": "a long story"}', token=first)
    connection.getresponse().readline()
    # One reply at a time: the client tries again until it gives up, and the first one is not over by then.
    answer = call(address, "POST", "/ask", json={"text": "me too"}, token=second)
    connection.close()
    stack.mock("/mock/wait?in-flight=0")
    if answer.status == 200:
        # The repetition has found the place free.
        assert lines(answer.body)[-1]["state"] == "done"
    else:
        assert answer.status == 503 and int(answer.header("Retry-After")) >= 1, answer


def test_the_backend_refuses_strangers_and_wrong_words(backend: tuple[Stack, str]) -> None:
    _, address = backend
    register(address, "known")

    def status(method: str, path: str, token: str | None = None, **options: object) -> int:
        answer = call(address, method, path, token=token, **options)
        assert "pgpt" not in str(answer.body) and list(answer.json) == ["error"]
        return answer.status

    for path in ("/ask", "/history"):
        assert status("POST" if path == "/ask" else "GET", path) == 401
        assert status("POST" if path == "/ask" else "GET", path, "wrong") == 401
    assert status("POST", "/login", json={"name": "known", "password": "wrong password"}) == 401
    assert status("POST", "/login", json={"name": "unknown", "password": "wrong password"}) == 401
    assert status("POST", "/register", json={"name": "known", "password": "correct horse"}) == 409
    assert status("POST", "/register", json={"name": "short", "password": "short"}) == 400
    assert status("POST", "/register", body="{") == 400
    assert status("GET", "/nothing") == 404
    again = call(address, "POST", "/login", json={"name": "known", "password": "correct horse"})
    assert status("POST", "/ask", again.json["session"], json={}) == 400


def test_the_backend_does_not_start_without_a_token() -> None:
    done = subprocess.run(
        [NODE, EXAMPLES / "node-backend/server.mjs"], env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 64 and "PROXY_GPT_TOKEN" in done.stderr
