"""Pages of another origin: those of CORS_ORIGINS have the whole API by token, no page has the cookie."""

import http.server
import json
import pathlib
import signal
import threading

import database
import pytest
from browser import Browser
from client import call, check_error
from processes import wait_for
from sse import Stream
from stack import Stack
from visitors import SKIP

PAGE = "http://localhost:5173"
STACK = {"settings": {"CORS_ORIGINS": f"{PAGE},null,capacitor://localhost"}}
EXPOSED = {
    "x-request-id", "x-upstream-request-id", "retry-after", "retry-after-ms", "x-should-retry",
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
    "ratelimit", "ratelimit-policy", "server-timing",
}  # fmt: skip


def fetch(stack, method, path, site="same-site", **options):
    """A page's call as a browser makes it: the question first, then the call."""
    asking = {"Origin": PAGE, "Access-Control-Request-Method": method}
    asked = {"Access-Control-Request-Headers": "authorization,content-type"}
    preflight = call(stack.url, "OPTIONS", path, headers={**asking, **asked})
    assert preflight.status == 204 and preflight.header("Access-Control-Allow-Origin") == PAGE
    assert "authorization" in preflight.header("Access-Control-Allow-Headers")
    headers = {"Origin": PAGE, "Sec-Fetch-Site": site}
    answer = call(stack.url, method, path, headers=headers, **options)
    assert answer.header("Access-Control-Allow-Origin") == PAGE
    assert not answer.all("Set-Cookie")
    exposed = answer.header("Access-Control-Expose-Headers").lower().split(", ")
    assert set(exposed) >= EXPOSED
    return answer


def test_a_page_that_may_call_has_the_whole_api(stack):
    person = {"username": "page", "password": "password-1"}
    assert fetch(stack, "POST", "/user/signup", form=person).status == 200
    token = fetch(stack, "POST", "/user/login", form=person).json["token"]
    chat = fetch(stack, "POST", "/chat/create", form={"name": "c"}, token=token).json["id"]
    answer = fetch(stack, "POST", "/chat/prompt", form={"id": chat, "prompt": "hi"}, token=token)
    assert answer.status == 200 and answer.json["message"]["state"] == "done"
    asking = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    preflight = call(stack.url, "OPTIONS", f"/chat/stream?id={chat}", headers=asking)
    assert preflight.status == 204 and preflight.header("Access-Control-Allow-Origin") == PAGE
    with Stream(stack.url, chat, token, headers=[("Origin", PAGE)]) as stream:
        assert stream.status == 200
        assert stream.headers["access-control-allow-origin"] == PAGE
    limited = "/v1/echo?status=429&header=retry-after-ms:%2025"
    answer = fetch(stack, "POST", limited, body="{}", token=token)
    assert answer.status == 429 and answer.header("retry-after-ms") == "25"
    assert fetch(stack, "GET", "/v1/models", token=token).header("x-ratelimit-limit-requests")
    assert fetch(stack, "POST", "/user/logout", token=token).status == 200
    check_error(fetch(stack, "GET", "/user/session", token=token), 401, "unauthorized")


@pytest.mark.parametrize("origin", ["null", "capacitor://localhost"])
def test_pages_of_files_and_apps_may_call(stack, token, origin):
    answer = call(stack.url, "GET", "/user/session", headers={"Origin": origin}, token=token)
    assert answer.status == 200 and answer.header("Access-Control-Allow-Origin") == origin


def test_questions_of_browsers_are_counted_and_leave_no_row(stack, token):
    def counted():
        lines = call(stack.url, "GET", "/metrics").body.decode().splitlines()
        name = "proxy_gpt_preflights_total "
        return next(float(line.split()[1]) for line in lines if line.startswith(name))

    before = counted()
    for path in ("/user/session", "/v1/models", "/chat/stream"):
        for origin, status in ((PAGE, 204), ("https://other.example", 401)):
            asking = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            assert call(stack.url, "OPTIONS", path, headers=asking).status == status
    wait_for(lambda: counted() == before + 6, "six questions to be counted")
    call(stack.url, "GET", "/user/session", token=token)
    rows = database.rows_of_copy(stack, "SELECT method FROM events")
    assert rows and all(row["method"] != "OPTIONS" for row in rows)


def test_a_page_that_may_call_has_no_cookie(stack, token):
    headers = {"Origin": PAGE, "Sec-Fetch-Site": "same-site", "Cookie": f"sess={token}"}
    for path in ("/user/update", "/user/logout", "/v1/echo", "/chat/stream"):
        check_error(call(stack.url, "POST", path, headers=headers), 403, "forbidden")
    assert call(stack.url, "GET", "/user/session", token=token).status == 200


@pytest.fixture(scope="module")
def named():
    """A stack whose nginx gives the server a name."""
    with Stack(workers=1) as running:
        site = pathlib.Path(running.directory, "nginx/proxy-gpt.conf")
        listen = f"listen {running.url.removeprefix('http://')};"
        text = site.read_text()
        assert text.count(listen) == 1
        site.write_text(text.replace(listen, listen + " server_name gpt.example;"))
        running.nginx.send_signal(signal.SIGHUP)
        host = {"Host": "evil.example"}
        wait_for(
            lambda: call(running.url, "GET", "/user/session", headers=host).status == 421,
            "the name to be known",
        )
        yield running


def asked(stack, path, headers, method="GET"):
    return call(stack.url, method, path, headers=headers)


def test_a_name_that_means_this_address_is_not_ours(stack, token):
    """DNS rebinding: the browser believes that the page is at our address."""
    port = stack.url.rsplit(":", 1)[1]
    for host, status in (("evil.example", 403), (f"127.0.0.1:{port}", 200), ("localhost", 200)):
        page = {"Host": host, "Origin": f"http://{host}", "Cookie": f"sess={token}"}
        page["Sec-Fetch-Site"] = "same-origin"
        answer = asked(stack, "/user/session", page, "POST")
        assert answer.status == status, (host, answer)
        if status == 403:
            assert "http://evil.example is our own, PUBLIC_ORIGINS" in answer.error["message"]
            logs = "".join(stack.worker_log(worker) for worker in stack.workers)
            assert 'settings.remedy="PUBLIC_ORIGINS=http://evil.example"' in logs


def test_with_a_name_of_our_own_other_names_are_misdirected(named):
    token = named.signup("named", "password-1")[0]
    page = {"Host": "gpt.example", "Origin": "http://gpt.example", "Cookie": f"sess={token}"}
    assert asked(named, "/user/session", page, "POST").status == 200
    # A token that is none: without any, nginx itself answers 401 below /v1/.
    wrong = {"Authorization": "Bearer none"}
    for path in ("/user/session", "/v1/models", "/chat/stream"):
        misdirected = asked(named, path, {"Host": "evil.example", **wrong})
        check_error(misdirected, 421, "misdirected_request")
        for host in ("gpt.example", "localhost", "192.0.2.1:80", "[::1]"):
            assert asked(named, path, {"Host": host, **wrong}).status == 401, (path, host)
    handshake = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
    }  # fmt: skip
    for path in ("/v1/realtime", "/chat/stream"):
        assert asked(named, path, {**handshake, "Host": "evil.example"}).status == 421
    for path in ("/", "/web/app.js"):
        check_error(asked(named, path, {"Host": "evil.example"}), 421, "misdirected_request")
        for host in ("GPT.example:80", "localhost:1", "192.0.2.1", "[::1]:80"):
            assert asked(named, path, {"Host": host}).status == 200, (path, host)
    # Load balancers ask by whatever name.
    assert asked(named, "/live", {"Host": "evil.example"}).status == 200


SCRIPT = """
(async (base) => {
    const headers = {};
    async function post(path, fields) {
        const answer = await fetch(base + path, { method: 'POST', headers,
            body: new URLSearchParams(fields) });
        if (!answer.ok) throw new Error(path + ' ' + answer.status);
        return answer.json();
    }
    const person = { username: 'browser', password: 'password-1' };
    await post('/user/signup', person);
    headers.Authorization = 'Bearer ' + (await post('/user/login', person)).token;
    const chat = (await post('/chat/create', { name: 'c' })).id;
    const stream = await fetch(base + '/chat/stream?id=' + chat, { headers });
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    await post('/chat/prompt', { id: chat, prompt: 'hi', stream: 'true' });
    let seen = '';
    while (!seen.includes('"partial":false')) seen += (await reader.read()).value;
    await reader.cancel();
    const limited = await fetch(base + '/v1/echo?status=429&header=retry-after-ms:%2025', { headers });
    const models = await fetch(base + '/v1/models', { headers });
    const out = await post('/user/logout', {});
    const after = await fetch(base + '/user/session', { headers });
    return JSON.stringify([limited.status, limited.headers.get('retry-after-ms'),
        models.headers.get('x-ratelimit-limit-requests'), models.headers.get('x-request-id') !== null,
        after.status]);
})"""


@SKIP
def test_a_page_in_a_browser_does_it_all():
    """At a port of its own, since 5173 may be taken."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://localhost:{server.server_port}"
        try:
            with Stack(workers=1, settings={"CORS_ORIGINS": origin}) as stack, Browser() as browser:
                page = browser.page(origin)
                told = json.loads(page.evaluate(f"{SCRIPT}('{stack.url}')"))
                assert told == [429, "25", "10000", True, 401]
                cookies = page.call("Network.getCookies", urls=[stack.url])["cookies"]
                assert cookies == []
        finally:
            server.shutdown()
