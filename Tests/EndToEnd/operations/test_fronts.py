"""Another nginx before ours: on the same host, as a balancer, with TLS, and below a path of its own."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import urllib.parse

import pytest
from certificates import make_certificates
from client import call, check_error, raw_socket
from front import CHECKOUT, nginx_binary
from processes import free_port
from stack import Stack, wait_for
from visitors import SKIP, Visitor, browser  # noqa: F401  a fixture

FIGURES = ("/metrics", "/status", "/status?full", "/status?json&full")


def site(directory, servers):
    """The whole of an nginx.conf around some servers, with nothing of ours."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n    ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    user = "user root root;" if os.geteuid() == 0 else ""
    path = pathlib.Path(directory, "nginx.conf")
    path.write_text(f"""\
{user}
daemon off;
pid {directory}/pid;
events {{}}
http {{
    access_log off;
    {temporary}
    {servers}
}}
""")
    return ["-p", str(directory), "-c", "nginx.conf", "-e", f"{directory}/error.log"]


@contextlib.contextmanager
def front(directory, servers, url):
    """Another nginx, up when it answers at `url`."""
    process = subprocess.Popen([nginx_binary(), *site(directory, servers)])

    def answers():
        assert process.poll() is None, pathlib.Path(directory, "error.log").read_text()
        with contextlib.suppress(OSError):
            call(url, "GET", "/live")
            return True

    try:
        wait_for(answers, "the other nginx")
        yield url
    finally:
        process.terminate()
        process.wait()


# The operators' pages

HOPS = {
    # As most write it; nginx speaks HTTP/1.0 then.
    "plain": "",
    "for": "proxy_set_header X-Forwarded-For $remote_addr;",
    "added": "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "real": "proxy_set_header X-Real-IP $remote_addr;",
    "forwarded": 'proxy_set_header Forwarded "for=$remote_addr";',
    "via": 'proxy_set_header Via "1.1 front";',
    "host": "proxy_set_header X-Forwarded-Host $host;",
}


@pytest.fixture(scope="module")
def hops(stack, tmp_path_factory):
    port = free_port()
    locations = ""
    for name, line in HOPS.items():
        version = "proxy_http_version 1.1;" if line else ""
        locations += f"location /{name}/ {{ {version} {line} proxy_pass {stack.url}/; }}\n"
    server = f"server {{ listen 127.0.0.1:{port}; {locations} location / {{ return 200; }} }}"
    with front(tmp_path_factory.mktemp("hops"), server, f"http://127.0.0.1:{port}") as url:
        yield url


@pytest.mark.parametrize("name", HOPS)
def test_nobody_sees_figures_through_a_proxy_on_this_host(hops, name):
    for path in FIGURES:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}):
            answer = call(hops, "GET", f"/{name}{path}", headers=headers)
            check_error(answer, 403, "forbidden")
            assert b"proxy_gpt_" not in answer.body
    assert call(hops, "GET", f"/{name}/live").status == 200


def test_this_host_itself_sees_them(stack):
    for path in FIGURES:
        assert call(stack.url, "GET", path).status == 200
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            check_error(call(stack.url, "GET", path, headers={name: "127.0.0.1"}), 403)


def reload(nginx):
    """Has an nginx read its files again; returns when no process of before is left."""

    def children():
        return set(pathlib.Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text().split())

    before = children()
    nginx.send_signal(signal.SIGHUP)
    wait_for(lambda: children() and not before & children(), "nginx's new processes")


@contextlib.contextmanager
def changed(stack, *changes):
    """The stack's nginx with other lines in its files."""
    kept = {}
    for path, old, new in changes:
        file = pathlib.Path(stack.directory, "nginx", path)
        kept[file] = file.read_text()
        assert old in kept[file]
        file.write_text(kept[file].replace(old, new))
    try:
        reload(stack.nginx)
        yield
    finally:
        for file, text in kept.items():
            file.write_text(text)
        reload(stack.nginx)


def test_through_a_listed_front_the_client_counts(stack, hops):
    listen = f"listen {stack.url.removeprefix('http://')};"
    lines = "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; real_ip_recursive on;"
    with changed(
        stack,
        ("proxy-gpt.conf", listen, f"{listen} {lines}"),
        ("snippets/proxy-gpt-operators.conf", "allow ::1;", "allow 127.0.0.3;"),
    ):
        for path in FIGURES:
            for name in ("for", "added"):
                answer = call(hops, "GET", f"/{name}{path}", source="127.0.0.3")
                assert answer.status == 200, answer
            # Others are others, whatever they say of themselves.
            for name in ("for", "added"):
                said = {"X-Forwarded-For": "127.0.0.3"}
                answer = call(hops, "GET", f"/{name}{path}", source="127.0.0.2", headers=said)
                check_error(answer, 403, "forbidden")
        # One that is not listed.
        said = {"X-Forwarded-For": "127.0.0.3"}
        check_error(call(stack.url, "GET", "/metrics", source="127.0.0.4", headers=said), 403)


# The samples


def test_no_file_defines_what_another_has():
    """They may all be in one nginx, where the last one of two would count for both."""
    found = {}
    kinds = r"^(?:map|geo|split_clients) .*(\$\w+) \{|^upstream (\w+)|\bzone=(\w+):|shared:(\w+)"
    for file in sorted((CHECKOUT / "nginx").iterdir()):
        for match in re.finditer(kinds, file.read_text(), re.MULTILINE):
            name = next(filter(None, match.groups()))
            assert name not in found, (name, file.name, found[name])
            found[name] = file.name
    assert len(found) > 20 and "$proxy_gpt_proxied" in found and "proxy_gpt" in found


def test_the_balancer_passes_no_figures(stack, token, tmp_path):
    port, text = free_port(), (CHECKOUT / "nginx/balancer.conf").read_text()
    for host in ("192.0.2.11:8080", "192.0.2.12:8080"):
        assert host in text
        text = text.replace(host, stack.url.removeprefix("http://"))
    text = text.replace("listen 8081;", f"listen 127.0.0.1:{port};")
    with front(tmp_path, text, f"http://127.0.0.1:{port}") as url:
        assert call(url, "GET", "/v1/models", token=token).status == 200
        for path in (*FIGURES, "//metrics", "/%6detrics", "/./status", "/x/../status?full"):
            with raw_socket(url) as connection:
                request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                connection.sendall(request.encode())
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
            assert re.match(rb"HTTP/1.1 (400|401|404) ", answer), (path, answer[:200])
            assert b"proxy_gpt_" not in answer and b"pool:" not in answer


def test_tls_redirects_to_its_own_name_and_starts_without_our_files(tmp_path):
    text = (CHECKOUT / "nginx/tls.conf").read_text()
    for name in ("fullchain", "privkey"):
        assert f"/etc/ssl/proxy-gpt/{name}.pem" in text
    make_certificates(tmp_path)
    text = text.replace("/etc/ssl/proxy-gpt/fullchain.pem", f"{tmp_path}/tls.pem")
    text = text.replace("/etc/ssl/proxy-gpt/privkey.pem", f"{tmp_path}/tls.key")
    port, secure = free_port(), free_port()
    for line in ("listen [::]:443 ssl http2;", "listen [::]:80;"):
        text = text.replace(line, "")
    text = text.replace("listen 443 ", f"listen 127.0.0.1:{secure} ")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    with front(tmp_path, text, f"http://127.0.0.1:{port}") as url:
        for host in ("api.example.org", "evil.example", "192.0.2.1"):
            answer = call(url, "GET", "/", headers={"Host": host})
            assert answer.status == 308, answer
            assert answer.header("Location") == "https://api.example.org/", host
        assert call(url, "GET", "/v1/models").status == 404


# Below a path


def documented():
    """The block of the document."""
    text = (CHECKOUT / "docs/web-app.md").read_text()
    block = re.search(r"\n    location /ai/ \{\n.*?\n    \}\n", text, re.DOTALL).group()
    assert "http://127.0.0.1:8080/;" in block
    return block


class Below:
    """What a visitor needs to know of a stack."""

    def __init__(self, url):
        self.url = url


@pytest.fixture(scope="module")
def below(tmp_path_factory):
    """The address below which a front has a stack, by the block of docs/web-app.md."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    settings = {"PUBLIC_ORIGINS": origin, "COOKIE_PATH": "/ai/"}
    with Stack(workers=1, settings=settings) as stack:
        block = documented().replace("http://127.0.0.1:8080", stack.url)
        server = f"server {{ listen 127.0.0.1:{port}; {block} location / {{ return 204; }} }}"
        with front(tmp_path_factory.mktemp("below"), server, origin):
            yield Below(origin + "/ai")


def split(url):
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path


def test_below_a_path_page_cookie_and_streams_work(below):
    origin, prefix = split(below.url)

    def asked(method, path, **more):
        return call(origin, method, prefix + path, **more)

    page = asked("GET", "/").body.decode()
    found = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert len(found) == 6
    for address in found:
        path = urllib.parse.urljoin(prefix + "/", address)
        assert path.startswith("/ai/web/") and call(origin, "GET", path).status == 200, path
    answer = asked("GET", "/web/")
    assert (answer.status, answer.header("Location")) == (308, "../")
    reference = asked("GET", "/docs").body.decode()
    for address in re.findall(r'(?:src|href)="([a-z/.]+)"', reference):
        path = urllib.parse.urljoin(prefix + "/docs", address)
        assert path.startswith("/ai/") and call(origin, "GET", path).status == 200, path

    form = {"username": "below", "password": "password-1"}
    own = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    answer = asked("POST", "/user/signup", form=form, headers=own)
    cookie, *attributes = answer.header("Set-Cookie").split("; ")
    assert answer.status == 200 and "Path=/ai/" in attributes
    answer = asked("POST", "/user/update", form={"first_name": "B"}, headers={"Cookie": cookie, **own})
    assert answer.status == 200, answer
    answer = asked("POST", "/chat/create", form={"name": "c"}, headers={"Cookie": cookie, **own})
    chat, token = answer.json["id"], cookie.split("=")[1]
    assert asked("GET", "/v1/models", token=token).status == 200
    query = urllib.parse.urlencode({"id": chat})
    with raw_socket(origin) as socket:
        socket.sendall(
            f"GET {prefix}/chat/stream?{query} HTTP/1.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Host: {origin.removeprefix('http://')}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        assert socket.recv(65536).startswith(b"HTTP/1.1 101 ")
    check_error(asked("GET", "/metrics"), 403, "forbidden")
    answer = asked("POST", "/user/logout", headers={"Cookie": cookie, **own})
    assert answer.status == 200 and "Path=/ai/" in answer.header("Set-Cookie").split("; ")


@SKIP
def test_below_a_path_a_browser_chats(below, browser):  # noqa: F811
    visitor = Visitor(below, browser.page(below.url + "/"))
    visitor.page.until("!document.getElementById('welcome').hidden")
    visitor.sign_up()
    visitor.new_chat("Below")
    visitor.write("hello")
    wait_for(lambda: visitor.messages() and visitor.messages()[0]["state"] == "done", "the reply")
    visitor.page.call("Page.reload")
    visitor.page.until_found("heading", "Below")
    visitor.check()
    visitor.page.close()
