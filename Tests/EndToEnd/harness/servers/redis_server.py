"""A redis-server of a test's own, on a unix socket in a directory that goes with it."""

import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile

from processes import Processes
from stack import wait_for


class Redis:
    """Up when the `with` block begins; `kill` and `start` as often as a test likes."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="redis-", dir="/tmp")
        self.socket = os.path.join(self.directory, "redis.sock")
        self.address = f"unix://{self.socket}"
        self._processes = Processes(self.directory)
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        self._processes.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        arguments = ["redis-server", "--port", "0", "--unixsocket", self.socket]
        arguments += ["--dir", self.directory, "--save", "", "--appendonly", "no"]
        log = os.path.join(self.directory, "redis.log")
        self._process = self._processes.start(arguments, "redis", log)
        wait_for(self._accepts, "Redis")

    def kill(self):
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._processes.end(self._process)
            self._process = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def ticks(self):
        """The processor time that it has used."""
        with open(f"/proc/{self._process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def ask(self, *words):
        """The raw answer to a command."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(15)
            connection.connect(self.socket)
            connection.sendall((" ".join(words) + "\r\n").encode())
            return connection.recv(65536)

    def key(self, rest):
        """The whole name of a key of the one installation that uses this Redis."""
        names = re.findall(rb"proxy-gpt:[0-9a-f]{16}:", self.ask("KEYS", "proxy-gpt:*"))
        (prefix,) = set(names)
        return prefix.decode() + rest

    def _accepts(self):
        with contextlib.suppress(OSError):
            return self.ask("PING") == b"+PONG\r\n"
        return False
