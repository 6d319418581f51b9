"""What nginx keeps from the workers: bodies without a credential, floods from one address, and their lines.

The limits are those of production, so the tests share one stack and ask for little.
"""

import contextlib
import ipaddress
import json
import os
import pathlib
import random
import re
import select
import socket
import ssl
import subprocess
import time
import urllib.parse

import client
import database
import pytest
from client import call, chat, check_error
from front import CHECKOUT, nginx_binary
from processes import free_port
from stack import wait_for

STACK = {"workers": 1, "limits": True, "tls": True}

LARGE = 500_000_000
MEBIBYTE = 1 << 20
# What nginx keeps of a body in memory.
IN_MEMORY = 128 << 10


def ask(stack, headers, path="/v1/files", method="POST"):
    """Sends a head whose body is awaited: the first line of what nginx says to it, and the answer."""
    with client.raw_socket(stack.url) as connection:
        headers = [*headers, ("Expect", "100-continue")]
        connection.sendall(client.raw_request(method, path, headers=headers))
        first = b""
        while not first.endswith(b"\r\n"):
            first += connection.recv(1, 0)
        if b" 100 " in first:
            return 100, None
        rest = connection.makefile("rb")
        head = {}
        while (line := rest.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            head[name.lower()] = value
        body = json.loads(rest.read(int(head["content-length"])))
        return int(first.split()[1]), (head, body["error"])


def length(count):
    return ("Content-Length", str(count))


CHUNKED = ("Transfer-Encoding", "chunked")
WRONG = ("Authorization", "Bearer pgpt_" + "A" * 43)


# Bodies


@pytest.mark.parametrize("size", [length(1), length(LARGE), CHUNKED], ids=str)
def test_without_a_credential_no_body_is_taken(stack, size):
    for headers in ([], [("Cookie", "other=1; xsess=2")]):
        status, (head, error) = ask(stack, [size, *headers])
        assert status == 401 and head["www-authenticate"] == "Bearer", head
        assert error["code"] == "unauthorized" and error["type"] == "authentication_error"
        assert "Bearer TOKEN" in error["message"] and head["x-request-id"]


@pytest.mark.parametrize(
    "count",
    [IN_MEMORY + 1, 131_079, 131_080, 131_099, 131_100, 131_999, 132_000, 139_999, 140_000, 199_999,
     200_000, 999_999, 1_000_000, MEBIBYTE + 1, 9_999_999, 10_000_000, LARGE],
)  # fmt: skip
def test_a_large_body_is_taken_from_callers_alone(stack, token, count):
    for wrong in (WRONG, ("Cookie", f"a=b; sess={WRONG[1][7:]}"), ("Authorization", "Basic eDp5")):
        status, (head, error) = ask(stack, [length(count), wrong])
        assert status == 401 and head["www-authenticate"] == "Bearer", head
        assert error["code"] == "unauthorized" and "Log in again" in error["message"]
    assert ask(stack, [length(count), ("Authorization", f"Bearer {token}")])[0] == 100
    assert ask(stack, [length(count), ("Cookie", f"sess={token}")])[0] == 100


def test_a_body_of_unknown_length_is_taken_from_callers_alone(stack, token):
    assert ask(stack, [CHUNKED, WRONG])[0] == 401
    assert ask(stack, [CHUNKED, ("Authorization", f"Bearer {token}")])[0] == 100


def test_a_body_without_an_end_is_not_taken_over_http_2(stack):
    code, output, trace = client.curl(
        "--http2", "--cacert", stack.ca_file, "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
        "-X", "POST", "-H", ": ".join(WRONG), "-T", "/dev/zero", "--max-time", "20",
        stack.tls_url + "/v1/files",
    )  # fmt: skip
    assert output == b"2 401", (code, output, trace)


def test_a_small_body_costs_no_question(stack):
    assert ask(stack, [length(IN_MEMORY), WRONG])[0] == 100
    assert ask(stack, [length(99_999), WRONG])[0] == 100
    assert ask(stack, [length(0), WRONG])[0] in (100, 401)


@pytest.mark.parametrize("path", ["/chat/create", "/user/update", "/group/create", "/nowhere", "/v1"])
def test_a_large_form_is_taken_from_callers_alone(stack, token, path):
    for size in (length(IN_MEMORY + 1), length(MEBIBYTE), CHUNKED):
        status, (head, error) = ask(stack, [size, WRONG], path)
        assert status == 401 and head["www-authenticate"] == "Bearer", head
        assert error["code"] == "unauthorized" and "Log in again" in error["message"]
        status, (_, error) = ask(stack, [size], path)
        assert status == 401 and "Bearer TOKEN" in error["message"]
        assert ask(stack, [size, ("Authorization", f"Bearer {token}")], path)[0] == 100
    assert ask(stack, [length(IN_MEMORY), WRONG], path)[0] == 100


@pytest.mark.parametrize("path", ["/user/login", "/user/logout"])
def test_a_strangers_form_lies_in_memory_and_few_do_at_once(stack, path):
    held = []

    def hold():
        connection = client.raw_socket(stack.url)
        head = [length(MEBIBYTE), ("Content-Type", client.FORM)]
        connection.sendall(client.raw_request("POST", path, headers=head) + b"a" * 500_000)
        held.append(connection)

    def files():
        """What nginx's processes have open and has no name."""
        children = pathlib.Path(f"/proc/{stack.nginx.pid}/task/{stack.nginx.pid}/children")
        links = []
        for process in children.read_text().split():
            for descriptor in pathlib.Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    links.append(os.readlink(descriptor))
        return [link for link in links if "client_body" in link]

    try:
        for _ in range(5):
            hold()
        # Later ones on their way through nginx than all of that.
        assert call(stack.url, "GET", "/nowhere").status == 401
        assert files() == []
        if path == "/user/login":
            # Beyond its rate there are no more of them.
            return
        for _ in range(45):
            hold()

        def refused():
            answer = call(stack.url, "POST", path, form={"token": "x"})
            if answer.status == 429:
                return answer
            hold()
            return None

        check_error(wait_for(refused, "the limit"), 429, "rate_limited")
        assert call(stack.url, "POST", path, form={"token": "x"}, source="127.0.0.2").status == 401
        assert call(stack.url, "GET", "/nowhere").status == 401
    finally:
        for connection in held:
            connection.close()


def test_a_page_of_another_origin_uploads_nothing_with_the_cookie(stack, token):
    headers = [length(LARGE), ("Cookie", f"sess={token}"), ("Origin", "https://evil.example")]
    status, (_, error) = ask(stack, headers)
    assert status == 403 and error["code"] == "forbidden"


def test_an_upload_arrives_whole_and_is_one_row(stack, token):
    body = chat(content="x" * 2 * MEBIBYTE)
    headers = [("X-Request-Id", "upload"), ("Content-Type", client.JSON)]
    answer = call(stack.url, "POST", "/v1/echo?a=%2f", body, headers, token=token)
    assert answer.status == 200
    targets = [one["uri"] for one in stack.mock("/mock/calls")]
    assert targets.count("/v1/echo?a=%2f") == 1, targets

    def rows():
        return database.rows_of_copy(
            stack, "SELECT * FROM events WHERE request_id = 'upload'"
        )

    wait_for(rows, "the row")
    [row] = rows()
    assert (row["status"], row["bytes_in"], row["type"]) == (200, len(body), "forward")


def test_a_preflight_and_a_websocket_are_the_workers_to_answer(stack):
    answer = call(stack.url, "OPTIONS", "/v1/models")
    assert answer.status == 401 and "Bearer TOKEN" in answer.error["message"]
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert call(stack.url, "GET", "/v1/models", headers=upgrade).status in (400, 401, 426)


# Addresses


def numbers():
    """The eight groups of addresses with runs of zeros everywhere, and of others."""
    chosen = random.Random(12)
    for _ in range(500):
        groups = [chosen.choice((0, 0, 0, 1, 0xAB, 0xFFFF)) for _ in range(8)]
        # Embedded IPv4 addresses are written otherwise.
        if any(groups[:5]):
            yield groups
    for start in range(8):
        for end in range(start, 9):
            yield [0 if start <= place < end else place + 1 for place in range(8)]


def network(groups):
    return ":".join(f"{group:x}" for group in groups[:4])


def test_an_ipv6_client_counts_by_its_network(tmp_path):
    """The map of proxy-gpt-http.conf, asked for addresses as nginx itself writes them."""
    text = (CHECKOUT / "nginx/proxy-gpt-http.conf").read_text()
    block = re.search(r"map \$remote_addr \$proxy_gpt_address \{.*?\n\}", text, re.DOTALL).group()
    block = block.replace("$binary_remote_addr;", "ipv4:$remote_addr;")
    port = free_port()
    user = "user root root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    tmp_path.joinpath("nginx.conf").write_text(f"""
{user}
daemon off;
pid {tmp_path}/pid;
events {{}}
http {{
    access_log off;
    {temporary}
    {block}
    server {{
        listen 127.0.0.1:{port};
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Forwarded-For;
        keepalive_requests 10000;
        location / {{ return 200 "$remote_addr $proxy_gpt_address"; }}
    }}
}}
""")
    nginx = subprocess.Popen(
        [nginx_binary(), "-p", str(tmp_path), "-c", "nginx.conf", "-e", f"{tmp_path}/error.log"]
    )
    try:
        url = f"http://127.0.0.1:{port}"

        def asked(address):
            return call(url, "GET", "/", headers={"X-Forwarded-For": address}).body.decode()

        def answers():
            try:
                return asked("192.0.2.1")
            except OSError:
                return None

        assert wait_for(answers, "nginx") == "192.0.2.1 ipv4:192.0.2.1"
        assert asked("::ffff:192.0.2.1") == "::ffff:192.0.2.1 ipv4:::ffff:192.0.2.1"
        for groups in numbers():
            address = str(ipaddress.IPv6Address(":".join(f"{group:x}" for group in groups)))
            written, key = asked(address).split(" ")
            assert ipaddress.ip_address(written) == ipaddress.ip_address(address)
            assert key == network(groups), (written, key)
    finally:
        nginx.terminate()
        nginx.wait(15)


def test_an_address_has_two_hundred_requests_at_once(stack, token):
    held = []

    def hold():
        connection = client.raw_socket(stack.url)
        # The body stays away: nginx waits for it.
        connection.sendall(client.raw_request("POST", "/v1/echo", token, headers=[length(10)]))
        held.append(connection)

    def waiting():
        answered, _, _ = select.select(held, [], [], 0)
        return [connection for connection in held if connection not in answered]

    try:
        for _ in range(200):
            hold()

        def refused():
            answer = call(stack.url, "GET", "/v1/models", token=token)
            if answer.status == 429:
                return answer
            # A request of an earlier test had still had a place, and one of these was refused.
            hold()
            return None

        answer = wait_for(refused, "the limit")
        wait_for(lambda: len(waiting()) == 200, "the answers of those that were refused")
        check_error(answer, 429, "rate_limited")
        assert answer.header("Retry-After") == "1"
        # A browser's EventSource comes back after this, and after nothing else.
        later = call(stack.url, "GET", "/chat/stream?id=x", token=token)
        assert later.status == 200 and later.header("Content-Type") == "text/event-stream"
        assert re.fullmatch(rb"retry: \d{4,5}\n\n", later.body) and later.header("X-Request-Id")
        other = call(stack.url, "GET", "/v1/models", token=token, source="127.0.0.2")
        assert other.status == 200
        leaving = waiting()[-1]
        held.remove(leaving)
        leaving.close()
        wait_for(
            lambda: call(stack.url, "GET", "/v1/models", token=token).status == 200, "a free place"
        )
    finally:
        for connection in held:
            connection.close()


# Lines


def lines(stack, source):
    with open(stack.nginx_access_log) as log:
        return [one for one in map(json.loads, log) if one["client"] == source]


def test_a_flood_of_refused_requests_leaves_few_lines(stack, token):
    source = "127.0.0.9"
    count, began = 400, time.monotonic()
    long = "a" * 3000
    for number in range(count):
        headers = {"Authorization": "Bearer wrong"} if number % 2 else {}
        headers["User-Agent"] = long if number else "agent\1" + long
        answer = call(stack.url, "GET", f"/v1/{long}", headers=headers, source=source)
        assert answer.status == 401
    for _ in range(20):
        assert call(stack.url, "GET", "/v1/models", token=token, source=source).status == 200
        assert call(stack.url, "GET", "/nowhere", token=token, source=source).status == 404
    seconds = time.monotonic() - began

    def is_told():
        told = lines(stack, source)
        return told if len([one for one in told if one["status"] != 401]) == 40 else None

    refused = [one for one in wait_for(is_told, "the caller's lines") if one["status"] == 401]
    assert 60 <= len(refused) <= 60 + seconds + 2
    assert all(len(one["path"]) <= 512 and len(one["user_agent"]) <= 256 for one in refused)
    assert refused[0]["user_agent"] == "agent" and len(refused[1]["user_agent"]) == 256


def test_a_malformed_handshake_leaves_no_line(stack):
    port = urllib.parse.urlsplit(stack.tls_url).port
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=stack.ca_file)
    person = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        person.do_handshake()
    hello = outgoing.read()
    chosen = random.Random(1)
    for _ in range(150):
        changed = bytearray(hello)
        changed[chosen.randrange(5, len(hello))] = chosen.randrange(256)
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(changed)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(10)
    with open(stack.nginx_error_log) as log:
        assert "SSL" not in log.read()


# Last: the workers' socket goes.


def test_without_a_worker_the_answer_says_so(stack, token):
    stack.close_sockets()
    # And the kept connections with it.
    for worker in list(stack.workers):
        stack.kill_worker(worker)
    status, (head, error) = ask(stack, [length(LARGE), ("Authorization", f"Bearer {token}")])
    assert status in (502, 503) and head["retry-after"] == "1", (status, head)
    assert error["code"] in ("upstream_error", "unavailable")
    assert ask(stack, [length(LARGE)])[0] == 401
