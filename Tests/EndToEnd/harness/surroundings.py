"""Stacks on a given database and bus: `sqlite`, `postgresql`, and either `+redis`."""

import contextlib
import functools

from redis_server import Redis
from stack import Stack


@contextlib.contextmanager
def surrounded(kind):
    """What makes stacks on the database of this kind, None being the usual one, that share a Redis."""
    database, _, beside = (kind or "").partition("+")
    with contextlib.ExitStack() as open_things:
        shared = {}
        if beside:
            assert beside == "redis", kind
            shared["REDIS_ADDRESS"] = open_things.enter_context(Redis()).address
        yield functools.partial(_make, database or None, shared)


def _make(database, shared, settings=(), **options):
    return Stack(database=database, settings={**shared, **dict(settings)}, **options)
