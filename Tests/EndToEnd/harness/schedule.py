"""Tests side by side, with pytest-xdist: what stays together, and what begins first.

The tests of a module on one database share a stack, so they stay in one process and in their order. What took
longest in the whole run before begins first; without one, what is known to be long does.
"""

import json
import os
import pathlib
import re

from xdist.scheduler import LoadScopeScheduling

FILE = pathlib.Path(__file__).resolve().parents[3] / ".build" / "end-to-end-durations.json"
LONG = (
    "test_page_streams", "test_pool", "test_admin", "test_realtime", "test_prompts", "test_page", "test_users",
    "test_parallel", "test_clock", "test_postgres", "test_chat_stream", "test_access", "test_hosts",
)  # fmt: skip
# Fewer pieces are no whole run, whose durations would be kept.
WHOLE_RUN = 40
DATABASE = re.compile(r"\[(sqlite|postgresql(?:\+redis)?)[-\]]")


def shared(nodeid):
    """The name of what a test shares a stack with."""
    module, _, test = nodeid.partition("::")
    database = DATABASE.search(test)
    return f"{module} {database[1] if database else ''}"


def durations():
    """The seconds that each piece took, by its name, as far as that is known."""
    try:
        return json.loads(FILE.read_text())
    except (OSError, ValueError):
        return {}


class ByStack(LoadScopeScheduling):
    """Hands out what shares a stack as one piece."""

    def _split_scope(self, nodeid):
        return shared(nodeid)


class Durations:
    """A plug-in: notes how long each piece took, and puts the longest first."""

    def __init__(self):
        self._seconds = {}

    def pytest_collection_modifyitems(self, items):
        known = durations()

        def seconds(item):
            is_long = item.path.stem in LONG
            return known.get(shared(item.nodeid), 60 - LONG.index(item.path.stem) if is_long else 0)

        items.sort(key=seconds, reverse=True)

    def pytest_runtest_logreport(self, report):
        name = shared(report.nodeid)
        self._seconds[name] = self._seconds.get(name, 0) + report.duration

    def pytest_sessionfinish(self):
        if "PYTEST_XDIST_WORKER" in os.environ or len(self._seconds) < WHOLE_RUN:
            return
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(durations() | self._seconds, indent=1, sort_keys=True))
