"""What a stranger leaves on the disk: one way after another, from one address, at full speed.

    python3 Benchmarks/bench.py disk     (SECONDS_OF_FLOOD=5, DATABASE=sqlite or postgresql, WAYS=words)

Each way has a stack of its own with the limits of production. Counted is by how much the files of database,
logs and bodies have grown: blocks of the disk, of files without a name too. A way that lasts a minute shows
what a minute buys; the default is shorter, and shows most of it, since budgets are for the first
seconds of a minute. The first row is what the processes write by themselves.
"""

import contextlib
import os
import pathlib
import random
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Tests/EndToEnd/harness"))

    import paths  # noqa: F401

from client import call  # noqa: E402
from cluster import Cluster  # noqa: E402
from stack import Stack, wait_for  # noqa: E402

SECONDS = int(os.environ.get("SECONDS_OF_FLOOD", "5"))
DATABASE = os.environ.get("DATABASE", "sqlite")
WORDS = os.environ.get("WAYS", "").split(",")

# Each byte takes six in the log's format.
AGENT = b"User-Agent: " + b"\1" * 3000
WRONG = b"Authorization: Bearer pgpt_" + b"A" * 43
LONG = b"%22" * 1000


def request(method, path, *headers, body=b""):
    if body:
        headers += (b"Content-Type: application/x-www-form-urlencoded",)
        headers += (b"Content-Length: %d" % len(body),)
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"Host: a", AGENT, *headers, b"", body))


def form(path, body):
    return request(b"POST", path, body=body)


def name():
    return uuid.uuid4().hex.encode() * 7


UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
           b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
PREFLIGHT = (b"Origin: https://app.example", b"Access-Control-Request-Method: POST")
WAYS = {
    "no credential": lambda: request(b"GET", b"/v1/" + LONG),
    "wrong token": lambda: request(b"GET", b"/v1/" + LONG, WRONG),
    "wrong token, own path": lambda: request(b"GET", b"/nowhere/" + LONG, WRONG),
    "wrong log-in": lambda: form(b"/user/login", b"username=asim&password=wrong"),
    "log-ins of many": lambda: form(b"/user/login", b"password=wrong&username=" + name()),
    "bad form": lambda: form(b"/user/login", b"username=%zz"),
    "closed sign-up": lambda: form(b"/user/signup", b"username=a&password=password-1"),
    "open sign-up": lambda: form(b"/user/signup", b"password=password-1&username=" + name()),
    "bad path": lambda: request(b"GET", b"/v1/../" + LONG, WRONG),
    "wrong method": lambda: request(b"TRACE", b"/v1/" + LONG, WRONG),
    "page": lambda: request(b"GET", b"/"),
    "preflight": lambda: request(b"OPTIONS", b"/user/login?" + LONG, *PREFLIGHT),
    "stream": lambda: request(b"GET", b"/chat/stream?id=1&token=wrong&a=" + LONG),
    "WebSocket": lambda: request(b"GET", b"/v1/realtime?model=" + LONG, WRONG, *UPGRADE),
    "head too large": lambda: request(b"GET", b"/v1/" + LONG, b"X-A: " + b"a" * 20_000),
    "line too long": lambda: request(b"GET", b"/" + b"a" * 20_000),
    "no HTTP": lambda: b"\1\2\3 " + b"\1" * 3000 + b"\r\n\r\n",
    "broken TLS": None,
}
# Bodies that never end, on as many connections as one address may have: their paths and sizes.
UPLOADS = {
    "upload below /v1/": ("/v1/files", 1 << 20, True),
    "small uploads": ("/v1/files", 160_000, True),
    "upload to /chat": ("/chat/create", 1_000_000, True),
    "upload to /user": ("/user/update", 1_000_000, True),
    "upload elsewhere": ("/nowhere", 1_000_000, True),
    "upload of a log-in": ("/user/login", 1_000_000, False),
    "upload of a log-out": ("/user/logout", 1_000_000, False),
}
CONNECTIONS = 190


def disk(heading):
    heading(f"KiB on the disk after {SECONDS} s of strangers at full speed from one address, {DATABASE}")
    print(f"{'way':22} {'requests':>8}  database      log of it  nginx's logs  processes' logs  bodies")
    with contextlib.ExitStack() as open_things:
        server = None
        if DATABASE == "postgresql":
            server = Cluster("fsync=on")
            open_things.callback(server.close)
        ways = {"nothing": lambda stack: idle()}
        ways |= {name: lambda stack, way=way: flood(stack, way) for name, way in WAYS.items()}
        ways |= {name: lambda stack, way=way: upload(stack, *way) for name, way in UPLOADS.items()}
        for name, way in ways.items():
            if any(word in name for word in WORDS):
                measure(name, way, server)


def measure(name, way, server):
    settings = {
        "SIGNUP": "open" if name == "open sign-up" else "closed",
        "CORS_ORIGINS": "https://app.example",
    }
    database = (server, server.database(f"way {name}")) if server else "sqlite"
    with Stack(workers=2, limits=True, tls=True, settings=settings, database=database) as stack:
        # What a first request of any kind makes.
        call(stack.url, "GET", "/v1/models", token="wrong", source="127.0.0.2")
        call(stack.url, "POST", "/user/login", form={"username": "b", "password": "c"}, source="127.0.0.2")
        wait_for(lambda: os.path.getsize(stack.nginx_access_log), "the first line")
        if server:
            server.run("CHECKPOINT")
        time.sleep(2)
        before, position = sizes(stack), written(stack)
        bodies = BodyWatch(stack)
        try:
            requests = way(stack)
            time.sleep(1)
        finally:
            largest = bodies.stop()
        after = sizes(stack)
        grown = {kind: (after[kind] - before[kind]) / 1024 for kind in after}
        log = f"{grown['log']:9.0f}"
        if server:
            log = f"{(written(stack) - position) / 1024:6.0f} written"
        print(
            f"{name:22} {requests:8} {grown['database']:9.0f} {log:>14} {grown['nginx']:13.0f}"
            f" {grown['processes']:16.0f} {largest / 1024:7.0f}",
            flush=True,
        )


def idle():
    time.sleep(SECONDS)
    return 0


def flood(stack, way):
    """As many as two processes can send, on connections that nginx closes when it likes."""
    command = [sys.executable, __file__, stack.tls_url if way is None else stack.url]
    command += [next(name for name, one in WAYS.items() if one is way)]
    senders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(int(sender.communicate()[0]) for sender in senders)


def send(url, way):
    """What one of these processes does: how many answers there were."""
    address = urllib.parse.urlsplit(url)
    place, end = (address.hostname, address.port), time.monotonic() + SECONDS
    counts = []

    def run():
        count = 0
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(place, 10) as connection:
                if way is None:
                    connection.sendall(broken_hello())
                    connection.shutdown(socket.SHUT_WR)
                    count += 1
                    connection.recv(16)
                    continue
                while time.monotonic() < end:
                    batch = 8
                    connection.sendall(b"".join(way() for _ in range(batch)))
                    while batch > 0:
                        answer = connection.recv(1 << 20)
                        if not answer:
                            break
                        heads = answer.count(b"HTTP/1.1 ")
                        count, batch = count + heads, batch - heads
                    if batch > 0:
                        break
        counts.append(count)

    threads = [threading.Thread(target=run) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def broken_hello():
    """The beginning of a TLS handshake with one byte changed."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = bytearray(outgoing.read())
    hello[random.randrange(5, len(hello))] = random.randrange(256)
    return bytes(hello)


def upload(stack, path, size, has_token):
    """All of each body but its last byte, as far as it is taken."""
    address = urllib.parse.urlsplit(stack.url)
    token = "Authorization: Bearer wrong\r\n" if has_token else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\n{token}Content-Length: {size}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    ).encode()
    held = []
    end = time.monotonic() + SECONDS
    for _ in range(CONNECTIONS):
        connection = socket.create_connection((address.hostname, address.port))
        connection.settimeout(1)
        held.append(connection)
        with contextlib.suppress(OSError):
            connection.sendall(head + b"a" * (size - 1))
    time.sleep(max(0, end - time.monotonic()))
    for connection in held:
        connection.close()
    return len(held)


def sizes(stack):
    """Bytes by kind; the database's log beside what it is the log of."""
    kinds = dict.fromkeys(("database", "log", "nginx", "processes"), 0)
    roots = {"state": stack.state_directory}
    if stack.server:
        roots["server"] = os.path.join(stack.server.directory, "data")
    for name, root in roots.items():
        for path in pathlib.Path(root).rglob("*"):
            is_log = path.name.endswith("-wal") or "pg_wal" in path.parts
            with contextlib.suppress(FileNotFoundError):
                kinds["log" if is_log else "database"] += path.stat().st_blocks * 512
    for path in pathlib.Path(stack.directory).glob("*.log"):
        kinds["nginx" if path.name.startswith("nginx-") else "processes"] += path.stat().st_size
    return kinds


def written(stack):
    """Bytes that PostgreSQL has ever written to its log."""
    if not stack.server:
        return 0
    return int(stack.server.run("SELECT pg_current_wal_lsn() - '0/0'"))


class BodyWatch:
    """The most that nginx's files without a name ever took together."""

    def __init__(self, stack):
        self._stack, self._most, self._stop = stack, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        nginx = self._stack.nginx.pid
        children = f"/proc/{nginx}/task/{nginx}/children"
        while not self._stop.wait(0.1):
            total = 0
            for process in pathlib.Path(children).read_text().split():
                for descriptor in pathlib.Path(f"/proc/{process}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        status = descriptor.stat()
                        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                            total += status.st_blocks * 512
            self._most = max(self._most, total)

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self._most


if __name__ == "__main__":
    print(send(sys.argv[1], WAYS[sys.argv[2]]))
