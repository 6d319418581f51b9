"""Faults: what callers see meanwhile, that the service recovers by itself, that nothing acknowledged is lost."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import machine
from client import chat, raw_request, raw_socket, read_to_end
from machine import (
    SOCKETS,
    STATE,
    STREAMER,
    TWO_WORKERS,
    URL,
    is_served,
    nginx_workers,
    pid,
    restarts,
    rows,
    run,
    runs,
    services_with,
    show,
    token,
    workers,
)
from stack import wait_for
from traffic import Audience, Callers, Prompts, in_flight

SERVICES = ("proxy-gpt-worker@", "proxy-gpt-streamer")


class Waits:
    """The longest time in which nobody at all was answered."""

    def __init__(self, callers):
        self._callers, self._count, self._since, self.longest = callers, 0, time.monotonic(), 0.0

    def look(self):
        now = time.monotonic()
        if self._callers.count != self._count:
            self._count, self._since = self._callers.count, now
        self.longest = max(self.longest, now - self._since)


def under_calls(fault, threads=8):
    """Calls `fault` under calls and prompts; what they saw, and that all that was answered is there."""
    with Callers(threads) as callers, Prompts() as prompts:
        callers.go_on()
        wait_for(lambda: len(prompts.acknowledged) > 5, "prompts")
        said = fault(callers)
        callers.go_on()
        more = len(prompts.acknowledged) + 5
        wait_for(lambda: len(prompts.acknowledged) > more, "prompts afterwards", 60)
    return f"{said}, {callers.check()}, {prompts.check()}"


def who_is_killed_comes_back_and_nothing_is_lost():
    def kill(unit):
        def fault(callers):
            killed, start = pid(unit), time.monotonic()
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: runs(unit, killed), unit)
            return f"{unit.removesuffix('.service')} back after {time.monotonic() - start:.2f} s"

        return fault

    def kill_nginx(callers):
        before = nginx_workers()
        killed = next(iter(before))
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(nginx_workers()) == len(before) and killed not in nginx_workers(), "nginx")
        return "a process of nginx's"

    lines = [under_calls(kill(unit)) for unit in TWO_WORKERS]
    audience = Audience("mock?chunks=60&chunk-delay-ms=100")
    lines.append(under_calls(kill(STREAMER)) + f", watchers {audience.check(cuts=1)} times connected and no word lost")
    lines.append(under_calls(kill_nginx))
    return "\n  " + "\n  ".join(lines)


def hang(unit):
    def fault(callers):
        hung, start, waits = pid(unit), time.monotonic(), Waits(callers)
        before = callers.count
        os.kill(hung, signal.SIGSTOP)

        def replaced():
            waits.look()
            return runs(unit, hung)

        wait_for(replaced, unit, 60)
        took = time.monotonic() - start
        return (
            f"{unit.removesuffix('.service')} replaced after {took:.1f} s, meanwhile {callers.count - before} "
            f"answers, the longest time without any {waits.longest:.1f} s"
        )

    return fault


def who_hangs_is_killed_and_replaced():
    with services_with("WatchdogSec=2", *SERVICES):
        lines = [under_calls(hang(TWO_WORKERS[0]))]
        audience = Audience("mock?chunks=60&chunk-delay-ms=100")
        lines.append(under_calls(hang(STREAMER)))
        lines[-1] += f", watchers {audience.check(cuts=1)} times connected and no word lost"
    return "(WatchdogSec=2)\n  " + "\n  ".join(lines)


def who_hangs_is_killed_in_the_time_that_the_unit_says():
    return "\n  " + under_calls(hang(TWO_WORKERS[0]))


# Disks


@contextlib.contextmanager
def another_disk():
    """The state directory on a small disk of its own, with a service and an account that are new."""
    known = list(machine.TOKEN)
    machine.stop_everything()
    # The devices of the host, which a container has to name itself.
    for name, numbers in {"loop-control": (10, 237), **{f"loop{n}": (7, n) for n in range(8)}}.items():
        if not os.path.exists(f"/dev/{name}"):
            kind = "c" if name == "loop-control" else "b"
            run("mknod", f"/dev/{name}", kind, *map(str, numbers), fails=True)
    run("truncate", "-s", "64M", "/var/tmp/disk")
    run("mkfs.ext4", "-q", "-m", "0", "-F", "/var/tmp/disk")
    is_real = "" == run("mount", "-o", "loop", "/var/tmp/disk", str(STATE), fails=True)
    if not is_real:
        run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(STATE))
    try:
        begin_anew()
        yield is_real
    finally:
        machine.stop_everything()
        run("umount", str(STATE))
        os.unlink("/var/tmp/disk")
        run("systemctl", "start", "proxy-gpt.target")
        machine.TOKEN[:] = known
        assert is_served()


def begin_anew():
    machine.TOKEN.clear()
    run("systemd-tmpfiles", "--create", "proxy-gpt.conf")
    run("systemctl", "start", "proxy-gpt.target")
    assert is_served()


def check_database():
    assert rows("PRAGMA integrity_check") == [("ok",)]


def a_full_disk_is_survived():
    def fill(callers):
        before, filler = restarts(TWO_WORKERS), STATE / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\xff" * 65536):
                pass
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\xff" * 512):
                pass
        wait_for(lambda: len(callers.failures) > 200, "the disk to be full", 60)
        full = callers.count
        seen = len(callers.failures)
        wait_for(lambda: len(callers.failures) > seen + 200, "more of it", 60)
        assert set(callers.seen) == {"503"}, callers.seen
        answered = callers.count - full
        start = time.monotonic()
        filler.unlink()
        callers.go_on(1)
        assert restarts(TWO_WORKERS) == before
        return f"{answered} answers when full, served again {time.monotonic() - start:.2f} s after there was room"

    with another_disk() as is_real:
        said = under_calls(fill, threads=4)
        check_database()
    return f"({'ext4' if is_real else 'tmpfs'}) {said}"


def a_disk_that_becomes_read_only_is_survived():
    with another_disk() as is_real:
        if not is_real:
            return "not tried: this container has no loop device"
        with Callers(4) as callers, Prompts() as prompts:
            callers.go_on()
            # What the kernel does by itself upon an error of the disk, open files and all.
            run("mount", "-o", "remount,abort", str(STATE))
            wait_for(lambda: len(callers.failures) > 400, "the disk to be read-only", 60)
            start = time.monotonic()
            # Balancers hear of it as soon as a sign of life could not be written.
            wait_for(lambda: status("/ready") == status("/ready/streamer") == "503", "not ready")
            noticed = time.monotonic() - start
            assert status("/live") == "200"
            start = time.monotonic()
            machine.stop_everything()
            took = time.monotonic() - start
            run("umount", str(STATE))
            repaired = subprocess.run(["e2fsck", "-fp", "/var/tmp/disk"], capture_output=True, text=True)
            assert repaired.returncode in (0, 1), repaired.stdout
            run("mount", "-o", "loop", "/var/tmp/disk", str(STATE))
            run("systemctl", "start", "proxy-gpt.target")
            callers.go_on()
        assert is_served()
        check_database()
        return (
            f"not ready after {noticed:.1f} s, stopped within {took:.1f} s; after repair and start "
            f"{callers.check()}, {prompts.check()}"
        )


def status(path):
    return run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", URL + path)


# The clock


def a_step_of_the_clock_is_survived():
    """As the services see it: their clock_gettime is replaced, since the machine's clock is not ours."""
    if not os.path.exists("/checkout/.build/clock.so"):
        return "not tried: there is no compiler of C"
    step = os.open("/run/clock-step", os.O_CREAT | os.O_RDWR, 0o644)
    lines = []

    def move(seconds):
        os.pwrite(step, seconds.to_bytes(8, "little", signed=True), 0)

    def newest():
        return rows("SELECT max(timestamp) FROM (SELECT timestamp FROM events ORDER BY rowid DESC LIMIT 100)")

    move(0)
    with services_with("Environment=LD_PRELOAD=/checkout/.build/clock.so", *SERVICES):
        for seconds in (3600, -3600, 0):

            def fault(callers, seconds=seconds):
                audience = Audience("mock?chunks=80&chunk-delay-ms=100")
                before = callers.count
                move(seconds)
                # Longer than a process without a beat counts as alive.
                end = time.monotonic() + 17
                wait_for(lambda: time.monotonic() > end, "17 s", 30)
                audience.check()
                assert callers.failures == [], callers.seen
                return f"to {seconds:+d} s: {callers.count - before} answers and 5 watchers meanwhile"

            lines.append(under_calls(fault, threads=4))
            assert is_served()
    os.close(step)
    return "\n  " + "\n  ".join(lines)


# Descriptors


def too_few_descriptors_are_survived():
    # nginx keeps up to 256 idle connections in each of its processes: a limit below what that takes
    # would not end before they time out.
    with services_with("LimitNOFILE=256", *SERVICES):
        before = restarts(TWO_WORKERS)

        def crowd(callers):
            body = chat("mock?chunks=20&chunk-delay-ms=100", stream=True)
            held, start = [], time.monotonic()
            for number in range(300):
                # An address has 200 requests at once.
                connection = raw_socket(URL, timeout=60, source=f"127.0.0.{2 + number % 2}")
                headers = [("Connection", "close")]
                connection.sendall(raw_request("POST", "/v1/chat/completions", token(), body, headers))
                held.append(connection)
            seen = {}
            for connection in held:
                answer = read_to_end(connection)
                connection.close()
                whole = b"data: [DONE]" in answer
                status = re.match(rb"HTTP/1.1 (\d+)", answer)
                name = "whole" if whole else (status.group(1).decode() if status else "closed")
                seen[name] = seen.get(name, 0) + 1
            assert "closed" not in seen and "200" not in seen, seen
            return f"300 streams of 2 s at once: {seen}, the last after {time.monotonic() - start:.0f} s"

        said = under_calls(crowd)
        assert restarts(TWO_WORKERS) == before, "a worker ended"
        assert is_served()
    return said
