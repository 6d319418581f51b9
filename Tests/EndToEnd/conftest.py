"""What the tests share: one stack a module, a user of it, and its logs beside a failure.

A module says with `STACK = {...}` how its stack is built.
"""

import pathlib
import signal

import pytest
from stack import Stack

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell sets it aside for what it starts in the background, and all that the tests start would
    # inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def stack(request):
    """nginx, workers and mock upstream, shared by the tests of a module."""
    with Stack(**getattr(request.module, "STACK", {})) as running:
        yield running


@pytest.fixture(scope="module")
def token(stack):
    """The token of a user that all tests of a module may use."""
    return stack.signup("shared", "password-1")[0]


@pytest.fixture
def pool(stack):
    """Asserts that the workers that were there before the test live on after it."""
    before = [process.pid for process in stack.workers]
    yield stack
    assert [process.pid for process in stack.workers] == before
    ended = [process.name for process in stack.workers if process.poll() is not None]
    assert not ended, f"ended by this test: {ended}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack and stack.directory and pathlib.Path(stack.directory).exists():
        for path, text in stack.logs().items():
            if text.strip():
                report.sections.append((pathlib.Path(path).name, text[-3000:]))
    return report
