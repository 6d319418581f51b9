"""What root opens in the state directory, which is the service user's, follows no link."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from stack import Stack, binary

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def place():
    """A directory with the program, a state directory that is nobody's, and a file of root's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        here = pathlib.Path(name)
        shutil.copy(binary("proxy-gpt-admin"), here / "admin")
        os.chmod(here / "admin", 0o755)
        (here / "victim").write_text("root's own\n")
        os.chmod(here / "victim", 0o600)
        state = here / "state"
        with Stack(
            workers=1, nginx=False, streamer=False, state_directory=state, database="sqlite"
        ):
            pass
        for entry in (".", *os.listdir(state)):
            shutil.chown(state / entry, "nobody", "nogroup")
        yield here


def admin(place, *arguments, database=None):
    environment = {"STATE_DIRECTORY": str(place / "state")}
    if database:
        environment["DB_ADDRESS"] = database
    return subprocess.run(
        [place / "admin", *arguments],
        env=environment, capture_output=True, text=True, cwd="/", timeout=60,
    )  # fmt: skip


def assert_untouched(victim):
    status = victim.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 0, 0o600)
    assert victim.read_text() == "root's own\n"


@pytest.mark.parametrize(
    "name",
    [
        "proxy.db",
        "proxy.db-wal",
        "proxy.db.lock",
        "proxy.db.gate.lock",
        "proxy.db.wal.lock",
        "proxy.db.checkpoint.lock",
    ],
)
def test_no_command_of_root_follows_a_link_to_a_file_of_roots(place, name):
    path, kept = place / "state" / name, place / "state" / "kept"
    if path.exists():
        path.rename(kept)
    path.symlink_to(place / "victim")
    try:
        for arguments in (["backup", place / "copy.db", "--force"], ["list"], ["doctor"]):
            done = admin(place, *arguments)
            assert_untouched(place / "victim")
            assert path.is_symlink(), (arguments, done.stderr)
        done = admin(place, "backup", place / "copy.db", "--force")
        # Two of the locks are no concern of a backup while the service does not run.
        if name not in ("proxy.db.gate.lock", "proxy.db.wal.lock"):
            assert done.returncode == 1 and "is a link" in done.stderr, done
    finally:
        path.unlink()
        if kept.exists():
            kept.rename(path)
    done = admin(place, "backup", place / "copy.db", "--force")
    assert done.returncode == 0, done.stderr
    assert (place / "copy.db").stat().st_uid == 0


def test_what_root_makes_in_the_state_directory_is_its_owners(place):
    for name in ("proxy.db.lock", "proxy.db.checkpoint.lock"):
        (place / "state" / name).unlink(missing_ok=True)
    done = admin(place, "backup", place / "state" / "copy.db")
    assert done.returncode == 0, done.stderr
    assert {path.owner() for path in (place / "state").iterdir()} == {"nobody"}


@pytest.fixture
def copy(place):
    """A whole database that is root's own, where the service's user may not look."""
    hidden = place / "hidden"
    hidden.mkdir(mode=0o700)
    assert admin(place, "backup", hidden / "copy.db").returncode == 0
    yield hidden / "copy.db"
    shutil.rmtree(hidden)


@contextlib.contextmanager
def named(path, target):
    path.symlink_to(target)
    try:
        yield path
    finally:
        path.unlink()


def test_root_takes_nothing_by_way_of_a_directory_that_is_a_link(place, copy):
    """The service's user may exchange a directory for a link to one of root's, too."""
    state = place / "state"
    with named(state / "backups", copy.parent) as link:
        done = admin(place, "restore", link / copy.name, "--yes")
        assert done.returncode == 1 and "Permission denied" in done.stderr, done
        done = admin(place, "backup", link / "other.db")
        assert done.returncode == 1 and "Permission denied" in done.stderr, done
        done = admin(place, "migrate", "--from", link / copy.name, database="postgresql://h/d")
        assert done.returncode == 1, done
    assert sorted(copy.parent.iterdir()) == [copy]
    # A link in the place of the directory itself is the operator's, or root's, to make.
    with named(place / "elsewhere", copy.parent) as link:
        assert admin(place, "restore", link / copy.name, "--yes").returncode == 0


@pytest.mark.parametrize("victim", ["text", "pipe", "/dev/zero"])
def test_what_is_no_backup_is_refused_at_once_and_copied_nowhere(place, victim):
    path = pathlib.Path(victim)
    if not path.is_absolute():
        path = place / victim
        if victim == "pipe":
            os.mkfifo(path)
        else:
            path.write_text("root's own, which nobody else may read\n" * 100)
            path.chmod(0o600)
    before = {entry: entry.stat().st_mtime_ns for entry in (place / "state").iterdir()}
    home = (place / "state").stat().st_mtime_ns
    done = admin(place, "restore", path, "--yes")
    assert done.returncode == 1, done
    assert "no regular file" in done.stderr or "is no database" in done.stderr, done
    # No name came into the service's directory, for however short a time.
    assert (place / "state").stat().st_mtime_ns == home
    assert {entry: entry.stat().st_mtime_ns for entry in (place / "state").iterdir()} == before
    if victim == "text":
        assert path.stat().st_uid == 0 and path.stat().st_mode & 0o777 == 0o600


def test_root_restores_no_backup_through_a_link(place):
    assert admin(place, "backup", place / "copy.db", "--force").returncode == 0
    link = place / "state" / "link.db"
    link.symlink_to(place / "copy.db")
    done = admin(place, "restore", link, "--yes")
    link.unlink()
    assert done.returncode == 1 and "is a link" in done.stderr, done
