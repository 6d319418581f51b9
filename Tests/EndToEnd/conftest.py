"""What the tests share: one stack a module, a user of it, and its logs beside a failure.

A module says with `STACK = {...}` how its stack is built, and with `DATABASES = (...)` that its tests
run on several databases, one stack each.
"""

import pathlib

import pytest
from stack import Stack


def pytest_generate_tests(metafunc):
    databases = getattr(metafunc.module, "DATABASES", None)
    # Those of one database one after the other, whatever else a test is parametrized with.
    if databases and "database_kind" in metafunc.fixturenames:
        metafunc.parametrize("database_kind", databases, scope="module")


@pytest.fixture(scope="module")
def database_kind(request):
    """The kind of database that the module's stack has; None for the usual one."""
    return None


@pytest.fixture(scope="module")
def stack(request, database_kind):
    """nginx, workers and mock upstream, shared by the tests of a module."""
    options = {"database": database_kind, **getattr(request.module, "STACK", {})}
    with Stack(**options) as running:
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
