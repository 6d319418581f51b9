"""Reads, and where a test needs it changes, the database when all processes have stopped.

Python's own SQLite may be one that must not share a live file with them; PostgreSQL is asked by psql.
"""

import contextlib
import fcntl
import pathlib
import shutil
import sqlite3
import tempfile


def _check_stopped(stack):
    running = [process.name for process in stack.workers if process.poll() is None]
    assert not running, f"stop them first: {running}"
    # Few tests know of the streamer; it has the database open all the same.
    if stack.streamer:
        assert stack.stop_streamer() == 0


def stop_workers(stack):
    """A graceful stop of the whole pool, after which its database may be read."""
    for process in list(stack.workers):
        assert stack.stop_worker(process) == 0


def rows(stack, statement, *values):
    """The rows of a SELECT, as dictionaries."""
    _check_stopped(stack)
    if stack.server:
        return stack.server.rows(stack.database_name, statement, *values)
    address = f"file:{stack.database}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(statement, values)]


def rows_of_copy(stack, statement, *values):
    """The rows of a SELECT while processes run: from a copy made while nobody may write."""
    if stack.server:
        return stack.server.rows(stack.database_name, statement, *values)
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory, "copy.db")
        with contextlib.ExitStack() as held:
            for name in (".gate.lock", ".wal.lock"):
                lock = held.enter_context(open(stack.database + name))
                fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.copy(stack.database, copy)
            shutil.copy(stack.database + "-wal", str(copy) + "-wal")
        with contextlib.closing(sqlite3.connect(copy)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(statement, values)]


def change(stack, statement, *values):
    """Runs a statement that writes."""
    _check_stopped(stack)
    if stack.server:
        return stack.server.change(stack.database_name, statement, *values)
    with contextlib.closing(sqlite3.connect(stack.database)) as database, database:
        return database.execute(statement, values).rowcount


def events(stack):
    """All event rows by request id; where an id has several, the last stands."""
    return {row["request_id"]: row for row in rows(stack, "SELECT * FROM events ORDER BY id")}
