"""Tests side by side, with pytest-xdist: what stays together, and what begins first.

The tests of a module on one database share a stack, so they stay in one process and in their order. What took
longest in the run before begins first; where nothing is known the order is that of the files.
"""

import json
import os
import pathlib
import re

from xdist.scheduler import LoadScopeScheduling

FILE = pathlib.Path(__file__).resolve().parents[3] / ".build" / "end-to-end-durations.json"
DATABASE = re.compile(r"\[(sqlite|postgresql(?:\+redis)?)[-\]]")


def shared(nodeid):
    """The name of what a test shares a stack with."""
    module, _, test = nodeid.partition("::")
    database = DATABASE.search(test)
    return f"{module} {database[1] if database else ''}"


class ByStack(LoadScopeScheduling):
    """Hands out what shares a stack as one piece."""

    def _split_scope(self, nodeid):
        return shared(nodeid)


class Durations:
    """A plug-in: notes how long each piece took, and puts the longest first."""

    def __init__(self):
        self._seconds = {}

    def pytest_collection_modifyitems(self, items):
        try:
            known = json.loads(FILE.read_text())
        except (OSError, ValueError):
            return
        items.sort(key=lambda item: -known.get(shared(item.nodeid), 0))

    def pytest_runtest_logreport(self, report):
        name = shared(report.nodeid)
        self._seconds[name] = self._seconds.get(name, 0) + report.duration

    def pytest_sessionfinish(self):
        if "PYTEST_XDIST_WORKER" in os.environ or not FILE.parent.exists():
            return
        try:
            known = json.loads(FILE.read_text())
        except (OSError, ValueError):
            known = {}
        FILE.write_text(json.dumps(known | self._seconds, indent=1, sort_keys=True))
