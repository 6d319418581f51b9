"""Processes that never outlive us, and the small things that starting them needs."""

import contextlib
import fcntl
import itertools
import os
import pathlib
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

READY_CAP = 30

# Outlives us when we are killed outright: its input ends with us, and it kills what we left.
GUARD = """
import os, shutil, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
groups, directories = set(), set()
for line in sys.stdin:
    word, value = line.rstrip("\\n").split(" ", 1)
    if word == "started": groups.add(int(value))
    elif word == "ended": groups.discard(int(value))
    elif word == "directory": directories.add(value)
for group in groups:
    try: os.killpg(group, signal.SIGKILL)
    except OSError: pass
for directory in directories:
    shutil.rmtree(directory, ignore_errors=True)
"""


class StackError(Exception):
    """The stack did not come up, or one of its processes misbehaved."""

    def __init__(self, message, exit_code=1):
        super().__init__(message)
        self.exit_code = exit_code


def wait_for(predicate, what, cap=60):
    """Polls until the predicate is true and returns its value; the one place that may sleep."""
    end = time.monotonic() + cap
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {cap} s in vain for: {what}")
        time.sleep(0.005)


class Processes:
    """Starts processes in sessions of their own and ends them, whatever becomes of us.

    A session of its own means that Ctrl-C reaches us alone, and that what a process started
    itself (nginx its workers) ends with it.
    """

    def __init__(self, directory):
        self.log_files = []
        self._lock = threading.Lock()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", GUARD],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._tell("directory", directory)

    def start(self, arguments, name, log=None, **options):
        """A new process; its output goes to the log, or to the terminal without one."""
        with contextlib.ExitStack() as opened:
            if log:
                if log not in self.log_files:
                    self.log_files.append(log)
                output = opened.enter_context(open(log, "ab", buffering=0))
                options = {"stdout": output, "stderr": output, **options}
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, start_new_session=True, **options
            )
        self._tell("started", process.pid)
        process.name = name
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_files(), hard))
        return process

    def end(self, process, timeout=5):
        """SIGTERM, a second one, SIGKILL: as much of it as is needed."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                break
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
        self.ended(process)

    def ended(self, process):
        """Takes note of an end, and takes what the process had started with it."""
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        self._tell("ended", process.pid)

    def close(self):
        with contextlib.suppress(OSError):
            self._guard.stdin.close()
        self._guard.wait()

    def _tell(self, word, value):
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._guard.stdin.write(f"{word} {value}\n")
            self._guard.stdin.flush()


def await_ready(process, notified):
    """Waits for READY=1 on the socket or for the process's end, whichever is first."""
    ended = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(notified, select.POLLIN)
        poll.register(ended, select.POLLIN)
        end = time.monotonic() + READY_CAP
        while True:
            left = max(0, end - time.monotonic())
            reported = [descriptor for descriptor, _ in poll.poll(left * 1000)]
            if notified.fileno() in reported:
                if b"READY=1" in notified.recv(4096).split(b"\n"):
                    return
            elif ended in reported:
                code = process.wait()
                text = f"{process.name} ended at its start with {ending(code)}"
                raise StackError(text, code if code > 0 else 1)
            else:
                raise StackError(f"{process.name} was not ready after {READY_CAP} s")
    finally:
        os.close(ended)


def await_end(processes):
    """Returns when at least one of the processes has ended."""
    descriptors = [os.pidfd_open(process.pid) for process in processes if process.poll() is None]
    try:
        if len(descriptors) == len(processes):
            poll = select.poll()
            for descriptor in descriptors:
                poll.register(descriptor, select.POLLIN)
            poll.poll()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def first_line(process):
    """The first line of a process's output, or what came before it ended or was too late."""
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    data, end = b"", time.monotonic() + READY_CAP
    while b"\n" not in data and poll.poll(max(0, end - time.monotonic()) * 1000):
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            break
        data += piece
    return data.decode(errors="replace").split("\n", 1)[0]


def above_stdio(held):
    """The same socket under a number that cannot collide with a child's 3 and 4."""
    number = fcntl.fcntl(held.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
    held.close()
    return socket.socket(fileno=number)


def ending(code):
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def open_files():
    """How many files each process may have open: what we may give, 65,536 at most."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)


def read_text(path):
    return pathlib.Path(path).read_text(errors="replace")


def has_ipv6_loopback():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def is_free(port):
    """Whether nginx could listen on this port on both loopback addresses."""
    addresses = [(socket.AF_INET, "127.0.0.1")]
    if has_ipv6_loopback():
        addresses.append((socket.AF_INET6, "::1"))
    try:
        for family, address in addresses:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
                probe.listen(1)
    except OSError:
        return False
    return True


PORTS_OF_A_PROCESS = 2000
_ports_given = itertools.count(random.randrange(PORTS_OF_A_PROCESS))


def free_port():
    """A free port below those that the kernel gives to outgoing connections.

    Each process of pytest-xdist has a range of its own: none takes what another has looked at. In a process one port
    comes after the other: a stack listens only after it has asked for several.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 15000 + number % 8 * PORTS_OF_A_PROCESS
    for _ in range(200):
        port = first + next(_ports_given) % PORTS_OF_A_PROCESS
        if is_free(port):
            return port
    raise StackError(f"no free TCP port between {first} and {first + PORTS_OF_A_PROCESS - 1}")
