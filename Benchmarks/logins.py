"""One user's log-ins while others change a password and guess: a part of `make bench`, run by bench.py.

Idle and loaded rounds alternate in one run, since these machines are never quiet. In a loaded round 80
password changes of one user and 200 wrong log-ins run, of one name or of as many names; the log-ins of
another user from another address are measured for as long as any of them does.
"""

import concurrent.futures
import os
import statistics
import time

from client import call
from stack import Stack

ROUNDS = int(os.environ.get("LOGIN_ROUNDS", "3"))


def logins(heading):
    heading("another user's log-ins while 80 password changes and 200 wrong log-ins run")
    rounds = {"wrong log-ins of one name": guess_one, "wrong log-ins of 200 names": guess_many}
    for name, guess in rounds.items():
        idle, loaded = [], []
        for number in range(ROUNDS):
            # A new stack: failures are counted for an hour.
            with Stack(workers=2) as stack:
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

    def change(_):
        form = {"old_password": "password-1", "new_password": "password-1"}
        path = "/user/password/update"
        return call(stack.url, "POST", path, form=form, token=token, timeout=60).status

    idle = [latency(stack) for _ in range(40)]
    with concurrent.futures.ThreadPoolExecutor(280) as pool:
        work = [pool.submit(change, number) for number in range(80)]
        work += [pool.submit(guess, stack, number) for number in range(200)]
        loaded = []
        while not all(one.done() for one in work):
            loaded.append(latency(stack))
    idle += [latency(stack) for _ in range(40)]
    statuses = [one.result() for one in work]
    return idle, loaded, {status: statuses.count(status) for status in sorted(set(statuses))}


def guess_one(stack, number):
    return log_in(stack, "guessed", "wrong", "127.0.0.4")


def guess_many(stack, number):
    return log_in(stack, f"guessed-{number}", "wrong", f"127.0.0.{4 + number % 2}")


def latency(stack):
    began = time.monotonic()
    status = log_in(stack, "bystander", "password-1", "127.0.0.3")
    assert status == 200, f"another user's log-in: {status}"
    return (time.monotonic() - began) * 1000


def log_in(stack, name, password, source):
    form = {"username": name, "password": password}
    return call(stack.url, "POST", "/user/login", form=form, source=source, timeout=60).status


def p99(times):
    return sorted(times)[int(len(times) * 0.99)]


def described(times):
    return f"p50 {statistics.median(times):.0f} ms, p99 {p99(times):.0f} ms, longest {max(times):.0f} ms"
