"""What the tests share: one stack a module, a user of it, and its logs beside a failure.

A module says with `STACK = {...}` how its stack is built, with `CROWD = 200` that so many calls are open
beside its tests, and with `DATABASES = (...)` that its tests run on several databases, one stack each;
`postgresql+redis` has a Redis beside it.
"""

import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "harness"))

import observers  # noqa: E402
import openapi  # noqa: E402
import paths  # noqa: E402, F401  the folders of the harness
from crowd import crowd  # noqa: E402
from schedule import ByStack, Durations  # noqa: E402
from stack import Stack  # noqa: E402
from surroundings import surrounded  # noqa: E402

# Whatever a test receives, the document of the API must have it.
observers.event, observers.frame = openapi.check_event, openapi.check_frame


def observe(url, *answer):
    if url in observers.stacks:
        openapi.check(*answer)


observers.answer = observe


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: runs with no test beside it, since it measures or loads the machine")
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        # The order of the pieces is ours.
        config.option.loadscopereorder = False
        config.pluginmanager.register(Durations())


def pytest_xdist_make_scheduler(config, log):
    return ByStack(config, log)


def pytest_generate_tests(metafunc):
    databases = getattr(metafunc.module, "DATABASES", None)
    # Those of one database one after the other, whatever else a test is parametrized with.
    if databases and "database_kind" in metafunc.fixturenames:
        metafunc.parametrize("database_kind", databases, scope="module")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell sets it aside for what it starts in the background, and all that the tests start would
    # inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def database_kind(request):
    """The kind of database that the module's stack has; None for the usual one."""
    return None


@pytest.fixture(scope="module")
def make_stack(database_kind):
    """What makes a stack on that database, and with that bus."""
    with surrounded(database_kind) as make:
        yield make


@pytest.fixture(scope="module")
def stack(request, make_stack):
    """nginx, workers and mock upstream, shared by the tests of a module, beside `CROWD` open calls."""
    with make_stack(**getattr(request.module, "STACK", {})) as running:
        with crowd(running, getattr(request.module, "CROWD", 0)):
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
    arguments = getattr(item, "funcargs", {}) if report.failed else {}
    for name, stack in arguments.items():
        if not isinstance(stack, Stack) or not stack.directory:
            continue
        if not pathlib.Path(stack.directory).exists():
            continue
        for path, text in stack.logs().items():
            if text.strip():
                report.sections.append((f"{name}: {pathlib.Path(path).name}", text[-3000:]))
    return report
