"""One user's log-ins while others change a password and guess: a part of `make bench`, run by bench.py.

Idle and loaded rounds alternate in one run, since these machines are never quiet. In a loaded round 80
password changes of one user and 200 wrong log-ins run, of one name or of as many names; the log-ins of
another user from another address are measured by a process of their own for as long as any of them does.
"""

import contextlib
import os
import pathlib
import select
import selectors
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Tests/EndToEnd/harness"))

    import paths  # noqa: F401

from client import call  # noqa: E402
from stack import Stack  # noqa: E402

ROUNDS = int(os.environ.get("LOGIN_ROUNDS", "3"))


def logins(heading):
    heading("another user's log-ins while 80 password changes and 200 wrong log-ins run")
    rounds = {"wrong log-ins of one name": guess_one, "wrong log-ins of 200 names": guess_many}
    for name, guess in rounds.items():
        idle, loaded = [], []
        for number in range(ROUNDS):
            # A new stack: failures are counted for an hour.
            with Stack(workers=2, settings={"PASSWORD_COST": None}) as stack:
                quiet, busy, statuses = one_round(stack, guess)
            idle += quiet
            loaded += busy
        print(f"{name}: {statuses}")
        print(f"    idle, {len(idle)} log-ins: {described(idle)}")
        print(f"    meanwhile, {len(loaded)} log-ins: {described(loaded)}")
        print(f"    ratio of the p99s: {p99(loaded) / p99(idle):.1f}", flush=True)


def one_round(stack, guess):
    token = stack.signup("changer", "password-1")[0]
    for name in ("guessed", "bystander"):
        stack.signup(name, "password-1")

    idle = latencies(stack.url, 40)
    change = encoded("/user/password/update", token, old_password="password-1", new_password="password-1")
    work = [(change, "127.0.0.1")] * 80 + [guess(number) for number in range(200)]
    with Bystander(stack.url) as bystander:
        statuses = at_once(stack.url, work)
    idle += latencies(stack.url, 40)
    return idle, bystander.latencies, {status: statuses.count(status) for status in sorted(set(statuses))}


class Bystander:
    """Logs in again and again, in a process of its own."""

    def __init__(self, url):
        command = [sys.executable, __file__, url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.latencies = []

    def __enter__(self):
        # It has begun.
        self._process.stdout.readline()
        return self

    def __exit__(self, *_):
        output = self._process.communicate()[0]
        assert self._process.returncode == 0, "another user's log-in failed"
        self.latencies = [float(line) for line in output.split()]


def serve_bystander(url):
    latencies(url, 1)
    print(flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        print(*latencies(url, 1))


def guess_one(number):
    return encoded("/user/login", username="guessed", password="wrong"), "127.0.0.4"


def guess_many(number):
    request = encoded("/user/login", username=f"guessed-{number}", password="wrong")
    return request, f"127.0.0.{4 + number % 2}"


def encoded(path, token=None, **form):
    body = urllib.parse.urlencode(form)
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{credential}Connection: close\r\n"
    head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def at_once(url, requests):
    """Sends each request on a connection of its own, from its address; the statuses of the answers. One thread
    that selects, since these processors are what the hashes need."""
    address = urllib.parse.urlsplit(url)
    statuses = []
    with contextlib.ExitStack() as held, selectors.DefaultSelector() as selector:
        for request, source in requests:
            place = (address.hostname, address.port)
            connection = held.enter_context(socket.create_connection(place, source_address=(source, 0)))
            selector.register(connection, selectors.EVENT_READ, bytearray())
            connection.sendall(request)
        while selector.get_map():
            ready = selector.select(timeout=60)
            assert ready, "no answer in 60 s"
            for key, _ in ready:
                part = key.fileobj.recv(65536)
                key.data.extend(part)
                if not part:
                    selector.unregister(key.fileobj)
                    statuses.append(int(key.data.split(b" ", 2)[1]))
    return statuses


def latencies(url, count):
    """Of that many log-ins one after another, in milliseconds."""
    times = []
    for _ in range(count):
        began = time.monotonic()
        status = log_in(url, "bystander", "password-1", "127.0.0.3")
        assert status == 200, f"another user's log-in: {status}"
        times.append((time.monotonic() - began) * 1000)
    return times


def log_in(url, name, password, source):
    form = {"username": name, "password": password}
    return call(url, "POST", "/user/login", form=form, source=source, timeout=60).status


def p99(times):
    return sorted(times)[int(len(times) * 0.99)]


def described(times):
    return f"p50 {statistics.median(times):.0f} ms, p99 {p99(times):.0f} ms, longest {max(times):.0f} ms"


if __name__ == "__main__":
    serve_bystander(sys.argv[1])
