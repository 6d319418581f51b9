"""A PgBouncer of a test's own before a database of the tests' PostgreSQL."""

import os
import pathlib
import shutil
import tempfile

from processes import Processes
from stack import wait_for

PORT = 6432


def is_installed():
    return bool(shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin"))


class PgBouncer:
    """Up when the `with` block begins. It takes the place of a server in `Stack(database=…)`."""

    def __init__(self, server, name, mode="transaction", size=3):
        self._server, self._name = server, name
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/tmp"))
        self._processes = Processes(str(self.directory))
        (self.directory / "pgbouncer.ini").write_text(f"""\
[databases]
{name} = host={server.directory} dbname={name} user=gptio password=foobar
[pgbouncer]
unix_socket_dir = {self.directory}
listen_port = {PORT}
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
""")

    def __enter__(self):
        command = ["pgbouncer", str(self.directory / "pgbouncer.ini")]
        self.directory.chmod(0o755)
        if os.geteuid() == 0:
            # It refuses to run as root.
            shutil.chown(self.directory, "nobody", "nogroup")
            command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
        path = os.environ.get("PATH", "") + ":/usr/sbin"
        self._process = self._processes.start(
            command, "pgbouncer", str(self.directory / "log"), env=dict(os.environ, PATH=path)
        )
        socket = self.directory / f".s.PGSQL.{PORT}"
        wait_for(lambda: socket.exists() or self._process.poll() is not None, "PgBouncer")
        assert self._process.poll() is None, (self.directory / "log").read_text()
        return self

    def __exit__(self, *_):
        self._processes.end(self._process)
        self._processes.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def address(self, name):
        return f"postgresql://gptio:foobar@/{name}?host={self.directory}&port={PORT}"

    def __getattr__(self, name):
        return getattr(self._server, name)
