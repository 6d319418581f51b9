"""Stands between the product and a server, to be slow or cut off.

`Relay` listens on the loopback, or in a network namespace of its own behind a pair of virtual
interfaces, and passes bytes on to a unix socket. Run as a program it is the process that does so.
"""

import asyncio
import contextlib
import os
import subprocess
import sys

CAN_CUT = os.geteuid() == 0 and subprocess.run(
    ["unshare", "--net", "ip", "link", "add", "probe", "type", "veth", "peer", "name", "other"], capture_output=True
).returncode == 0  # fmt: skip


class Network:
    """A network namespace with one address, and a link to it that can be cut. Needs root."""

    def __init__(self):
        number = os.getpid() % 250
        self.name, self._link = f"proxy-gpt-{os.getpid()}", f"pgpt{os.getpid() % 10**6}"
        self._near, self.address = f"10.213.{number}.1", f"10.213.{number}.2"

    def __enter__(self):
        ip("netns", "add", self.name)
        try:
            ip("link", "add", self._link, "type", "veth", "peer", "far0", "netns", self.name)
            ip("address", "add", self._near + "/24", "dev", self._link)
            ip("link", "set", self._link, "up")
            ip("-n", self.name, "address", "add", self.address + "/24", "dev", "far0")
            ip("-n", self.name, "link", "set", "far0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        ip("netns", "delete", self.name)

    def cut(self):
        """From now on nothing passes, and nobody is told."""
        ip("-n", self.name, "link", "set", "far0", "down")

    def mend(self):
        ip("-n", self.name, "link", "set", "far0", "up")


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)


class Relay:
    """Passes connections to `target`, a unix socket, on."""

    def __init__(self, target, network=None):
        self.host = network.address if network else "127.0.0.1"
        inside = ["ip", "netns", "exec", network.name] if network else []
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-I", "-S", __file__, self.host, target],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.port = int(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def delay(self, seconds):
        """Holds back what the server answers for so long, from now on."""
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == str(seconds)


class Behind:
    """A PostgreSQL server that is reached through a relay."""

    def __init__(self, server, relay):
        self._server, self._relay = server, relay

    def __getattr__(self, name):
        return getattr(self._server, name)

    def address(self, name):
        return f"postgresql://gptio:foobar@{self._relay.host}:{self._relay.port}/{name}?sslmode=disable"


# The process


async def serve(host, target):
    delay = 0.0

    async def pump(reader, writer, is_slow):
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                if is_slow and delay:
                    await asyncio.sleep(delay)
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def accept(reader, writer):
        try:
            there = await asyncio.open_unix_connection(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1], False), pump(there[0], writer, True))

    server = await asyncio.start_server(accept, host, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        delay = float(line)
        print(line.strip(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
