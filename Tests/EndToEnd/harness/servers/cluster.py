"""A PostgreSQL server of the tests' own, which many stacks share, each with a database of its own.

The script that keeps the server ends it when we end, however that happens.
"""

import atexit
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading

from processes import wait_for

SCRIPT = pathlib.Path(__file__).resolve().parents[3] / "postgres-cluster"


class Cluster:
    """Serves on a unix socket in a directory of its own."""

    def __init__(self, *settings):
        self._names, self._lock = {}, threading.Lock()
        self._keeper = subprocess.Popen(
            [str(SCRIPT), *settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        atexit.register(self.close)
        self.directory = self._keeper.stdout.readline().strip()
        if not self.directory:
            raise AssertionError("PostgreSQL did not start, see above")
        if not any(setting.startswith("standby-of=") for setting in settings):
            self.run("CREATE USER gptio WITH ENCRYPTED PASSWORD 'foobar'")

    def close(self):
        """Stops the server and removes its directory."""
        atexit.unregister(self.close)
        self._keeper.stdin.close()
        self._keeper.wait(30)
        self._keeper.stdout.close()

    def command(self, word):
        """`stop`, `start`, `restart` or `restart fast`; returns when it is done."""
        self._keeper.stdin.write(word + "\n")
        self._keeper.stdin.flush()
        assert self._keeper.stdout.readline().strip() == word

    def database(self, state_directory):
        """The database that goes with a state directory: gptio has the specification's privileges."""
        with self._lock:
            name = self._names.get(state_directory)
            if name:
                return name
            name = self._names[state_directory] = f"proxy{len(self._names) + 1}"
        self.run(f"CREATE DATABASE {name}")
        self.run(f"GRANT ALL PRIVILEGES ON DATABASE {name} TO gptio")
        self.run("GRANT ALL ON SCHEMA public TO gptio", name)
        return name

    def address(self, name):
        return f"postgresql://gptio:foobar@/{name}?host={self.directory}"

    def run(self, statement, name="postgres"):
        """Runs a statement as the superuser; what psql prints of it."""
        arguments = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        arguments += ["-h", self.directory, "-U", "postgres", "-d", name]
        done = subprocess.run(
            arguments, input=statement, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def rows(self, name, statement, *values):
        """The rows of a SELECT, as dictionaries."""
        statement = _bound(statement, values)
        text = self.run(f"SELECT COALESCE(json_agg(found), '[]') FROM ({statement}) AS found", name)
        return [
            {column: _value(value) for column, value in row.items()} for row in json.loads(text)
        ]

    def change(self, name, statement, *values):
        """Runs a statement that writes; how many rows it changed."""
        statement = _bound(statement, values)
        return int(
            self.run(
                f"WITH changed AS ({statement} RETURNING 1) SELECT COUNT(*) FROM changed", name
            )
        )


class Pair:
    """A primary and its standby, which an address names first: whoever reconnects finds it promoted."""

    def __init__(self, primary, is_synchronous=False):
        self._primary = primary
        self.standby = Cluster(f"standby-of={primary.directory}", "fsync=on")
        if is_synchronous:
            primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.run("SELECT pg_reload_conf()")
        state = "sync" if is_synchronous else "async"
        follows = "SELECT sync_state FROM pg_stat_replication"
        wait_for(lambda: primary.run(follows) == state, "the standby to follow")

    def __getattr__(self, name):
        return getattr(self._primary, name)

    def address(self, name):
        return (
            f"postgresql://gptio:foobar@/{name}"
            f"?host={self.standby.directory},{self._primary.directory}"
        )


def _bound(statement, values):
    """The statement with values in place of its question marks."""
    pieces = statement.split("?")
    assert len(pieces) == len(values) + 1
    return pieces[0] + "".join(
        _literal(value) + piece for value, piece in zip(values, pieces[1:], strict=True)
    )


def _literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"


def _value(value):
    """Bytes as bytes; truths as SQLite has them."""
    if isinstance(value, str) and re.fullmatch(r"\\x([0-9a-f]{2})*", value):
        return bytes.fromhex(value[2:])
    return int(value) if isinstance(value, bool) else value


_shared = []


def shared():
    """The server that all stacks of this run share."""
    if not _shared:
        _shared.append(Cluster("max_connections=100"))
    return _shared[0]


def is_installed():
    return bool(shutil.which("psql")) and os.path.isdir("/usr/lib/postgresql")
