"""Connections that wait for another call."""

from __future__ import annotations

import select
import time
from typing import Generic, List, Optional, TypeVar

from .plans import Connection

# The server may be about to close a connection that has been idle for longer.
IDLE_LIMIT = 20.0


class PooledConnection(Connection):
    """A connection that a pool takes back."""

    def __init__(self, pool: Pool[PooledConnection]) -> None:
        self.kept_at = 0.0
        self._pool = pool

    def fileno(self) -> int:
        raise NotImplementedError

    def keep(self) -> None:
        self._pool.put(self)


C = TypeVar("C", bound=PooledConnection)


class Pool(Generic[C]):
    """The idle connections of a client. Threads may share it: its list has no step in between."""

    def __init__(self) -> None:
        self._idle: List[C] = []

    def put(self, connection: C) -> None:
        connection.kept_at = time.monotonic()
        self._idle.append(connection)

    def take(self) -> Optional[C]:
        """A connection that the server has not closed, as far as can be known; None without one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            # An answer is not awaited: what can be read is the end. select() knows 1,024 descriptors.
            is_young = time.monotonic() - connection.kept_at <= IDLE_LIMIT
            number = connection.fileno()
            if is_young and 0 <= number < 1024 and not select.select([number], [], [], 0)[0]:
                return connection
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
