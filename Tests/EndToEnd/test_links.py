"""What root opens in the state directory, which is the service user's, follows no link."""

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


def admin(place, *arguments):
    environment = {"STATE_DIRECTORY": str(place / "state")}
    return subprocess.run(
        [place / "admin", *arguments], env=environment, capture_output=True, text=True, cwd="/"
    )


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


def test_root_restores_no_backup_through_a_link(place):
    assert admin(place, "backup", place / "copy.db", "--force").returncode == 0
    link = place / "state" / "link.db"
    link.symlink_to(place / "copy.db")
    done = admin(place, "restore", link, "--yes")
    link.unlink()
    assert done.returncode == 1 and "is a link" in done.stderr, done
