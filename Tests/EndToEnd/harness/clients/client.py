"""What a client does: one request and its answer, a raw connection, curl, and parallel load.

Everything here looks at the product from outside. Standard library only.
"""

import base64
import contextlib
import fcntl
import http.client
import json as json_module
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import observers
from stack import wait_for

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class Answer:
    """A status, the headers in order, and a body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        values = self.all(name)
        return values[0] if values else None

    @property
    def json(self):
        return json_module.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


def connect(url, source=None, timeout=30):
    """A connection of http.client to a stack's address or the mock's."""
    place = (source, 0) if source else None
    return http.client.HTTPConnection(
        urllib.parse.urlsplit(url).netloc, timeout=timeout, source_address=place
    )


def send(connection, method, path, body=None, headers=(), token=None):
    """Sends one request with exactly these headers beside Content-Length, and Host if none is there."""
    headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
    names_host = any(name.lower() == "host" for name, _ in headers)
    connection.putrequest(method, path, skip_host=names_host, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if token:
        connection.putheader("Authorization", f"Bearer {token}")
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)


def call(
    url, method, path, body=None, headers=(), token=None, form=None, json=None, source=None,
    timeout=30,
):
    """One request on a connection of its own."""
    headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
    if form is not None:
        body = form if isinstance(form, str) else urllib.parse.urlencode(form)
        headers.append(("Content-Type", FORM))
    if json is not None:
        body = json_module.dumps(json)
        headers.append(("Content-Type", JSON))
    if isinstance(body, str):
        body = body.encode()
    if body is None and method == "POST":
        body = b""
    connection = connect(url, source, timeout)
    try:
        send(connection, method, path, body, headers, token)
        response = connection.getresponse()
        answer = Answer(response.status, response.getheaders(), response.read())
    finally:
        connection.close()
    observers.answer(url, method, path, answer.status, answer.headers, answer.body)
    return answer


def basic(username, token):
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{username}:{token}".encode()).decode()


def chat(model="mock", stream=False, content="tell me about spain", **more):
    """The body of a chat completion."""
    messages = [{"role": "user", "content": content}]
    return json_module.dumps(
        {"model": model, "messages": messages, **({"stream": True} if stream else {}), **more}
    ).encode()


def check_error(answer, status, code=None, param=None):
    """Asserts the one shape that all errors have."""
    statuses = status if isinstance(status, tuple) else (status,)
    assert answer.status in statuses, answer
    assert answer.header("Content-Type").split(";")[0] == JSON, answer.headers
    assert answer.header("X-Request-Id"), answer.headers
    error = answer.error
    assert set(error) - {"upstream_message"} == {"message", "type", "code", "param"}, error
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and error["type"]
    assert code is None or error["code"] == code, error
    assert param is None or error["param"] == param, error
    return error


def rate_limited(attempt, begun, wait=1):
    """Fails to log in until told to wait, and returns the wait then in force, in seconds.

    On a machine that stands still a wait may be over before the next attempt, which then counts as one
    more failure: only then is it let in. `begun` is when the last failure's call began.
    """
    while True:
        start = time.monotonic()
        answer = attempt()
        if answer.status == 429:
            break
        check_error(answer, 401, "unauthorized")
        assert time.monotonic() - begun >= wait, "let in before the wait was over"
        begun, wait = start, 2 * wait
    check_error(answer, 429, "rate_limited")
    assert 1 <= int(answer.header("Retry-After")) <= wait
    return wait



# Raw connections


def raw_socket(url, receive_buffer=None, timeout=30, source=None):
    """A TCP connection to the address, nothing sent."""
    parts = urllib.parse.urlsplit(url)
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(timeout)
    if source:
        connection.bind((source, 0))
    connection.connect((parts.hostname, parts.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def raw_request(method, path, token=None, body=b"", headers=()):
    """The bytes of a request; nothing is checked or escaped."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += [f"Content-Type: {JSON}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def read_to_end(connection):
    """All bytes until the peer closes; a reset counts as an end, too."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def exchange(url, request):
    """Sends raw bytes and reads one answer, by Content-Length or to the end."""
    with raw_socket(url) as connection:
        connection.sendall(request)
        answer = exchange_on(connection)
    method, target, *_ = [*request.decode("latin-1").split(" ", 2), "", ""]
    observers.answer(url, method, target, answer.status, answer.headers, answer.body)
    return answer


def exchange_on(connection):
    """Reads one answer from a raw connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, response.getheaders(), response.read())


def close_hard(connection):
    """Closes with a reset, as a killed client does."""
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def curl(*arguments, timeout=30):
    """Runs curl; (exit code, output, what it wrote to standard error)."""
    command = ["curl", "-sS", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr.decode()


@contextlib.contextmanager
def without(stack, process):
    """A context in which one worker stands still, so that another one must answer.

    It is stopped while this process has the turn to write to a SQLite file: a worker that stood
    still in the middle of a commit would keep all others from theirs, as SQLite has one writer.
    """
    assert process in stack.workers
    with contextlib.ExitStack() as held:
        for name in () if stack.server else (".gate.lock", ".wal.lock"):
            fcntl.flock(held.enter_context(open(stack.database + name)), fcntl.LOCK_EX)
        os.kill(process.pid, signal.SIGSTOP)
        # The signal has been taken in when the state says so.
        wait_for(lambda: _state(process) == "T", "the worker to stand still")
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def _state(process):
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def open_files(process):
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def upstream_connections(process, url):
    """How many open connections a process has to this address."""
    port = f":{urllib.parse.urlsplit(url).port:04X}"
    with open(f"/proc/{process.pid}/net/tcp") as table:
        fields = [line.split() for line in table]
    # Remote address, state (01 is established) and inode.
    inodes = {row[9] for row in fields[1:] if row[2].endswith(port) and row[3] == "01"}
    held = 0
    for name in os.listdir(f"/proc/{process.pid}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{process.pid}/fd/{name}")
            held += link.startswith("socket:") and link[8:-1] in inodes
    return held


# Load


class Load:
    """Threads that post the same call over kept connections until they are told to stop.

    Counts what was answered with 200 and keeps everything else in `failures`. With
    `numbered=True` each request has an id of its own, and those answered stand in `answered`.
    """

    def __init__(self, url, token, threads=8, numbered=False, body=None):
        self.failures, self.answered, self.count = [], [], 0
        self._url, self._token, self._numbered = url, token, numbered
        self._body = body or chat()
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(threads)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"

    def _run(self, number):
        connection, sent = None, 0
        while not self._stopping.is_set():
            sent += 1
            name = f"load-{number}-{sent}"
            try:
                if connection is None:
                    connection = raw_socket(self._url)
                connection.sendall(self._request(name))
                status, keeps = self._read(connection)
            except (OSError, ValueError) as error:
                status, keeps = repr(error), False
            with self._lock:
                if status == 200:
                    self.count += 1
                    if self._numbered:
                        self.answered.append(name)
                else:
                    self.failures.append((time.time(), name, status))
            if not keeps and connection:
                connection.close()
                connection = None

    def _request(self, name):
        headers = [("X-Request-Id", name)] if self._numbered else []
        return raw_request("POST", "/v1/chat/completions", self._token, self._body, headers)

    @staticmethod
    def _read(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise ValueError("closed before the head")
            data += piece
        head, body = data.split(b"\r\n\r\n", 1)
        lines = head.lower().split(b"\r\n")
        lengths = [line for line in lines if line.startswith(b"content-length:")]
        wanted = int(lengths[0].split(b":")[1])
        while len(body) < wanted:
            piece = connection.recv(65536)
            if not piece:
                raise ValueError("closed within the body")
            body += piece
        return int(lines[0].split(b" ")[1]), b"connection: close" not in lines
