"""What the service's user may do to files of root's in its own directory: nothing."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import threading
import time

from machine import (
    BACKUPS,
    SOCKETS,
    STATE,
    TWO_WORKERS,
    is_served,
    pid,
    run,
    shell,
    stop_everything,
    workers,
)
from stack import wait_for
from traffic import Audience

SHADOW = pathlib.Path("/etc/shadow")
SECRET = pathlib.Path("/root/secret.db")


def facts(path):
    status = path.stat()
    return status.st_uid, status.st_gid, status.st_mode, status.st_ino, status.st_size


class Greedy(threading.Thread):
    """The service's user, which reads all it can of its directory, as long as the block lasts."""

    def __init__(self, word):
        super().__init__(daemon=True)
        script = (
            "import os, sys\n"
            "while True:\n"
            "    for name in os.listdir('.'):\n"
            "        try: file = os.open(name, os.O_RDONLY | os.O_NONBLOCK)\n"
            "        except OSError: continue\n"
            "        try:\n"
            "            if sys.argv[1].encode() in os.read(file, 1 << 20): print(name, flush=True)\n"
            "        except OSError: pass\n"
            "        os.close(file)\n"
        )
        self._process = subprocess.Popen(
            ["setpriv", "--reuid=proxy-gpt", "--regid=proxy-gpt", "--clear-groups",
             "python3", "-c", script, word],
            cwd=STATE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.found = []

    def run(self):
        self.found += self._process.stdout.read().split()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self.join()


@contextlib.contextmanager
def in_place_of(path, make):
    """Something else of the service's user under a name of its directory, whatever was there before."""
    kept = path.with_name(path.name + ".kept")
    if os.path.lexists(path):
        path.rename(kept)
    make(path)
    os.chown(path, *facts(STATE)[:2], follow_symlinks=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if os.path.lexists(kept):
            kept.rename(path)


def link_to(target):
    return lambda path: path.symlink_to(target)


def root_gives_no_file_away_through_a_link():
    before = facts(SHADOW)
    lock, copy = STATE / "proxy.db.checkpoint.lock", BACKUPS / "backup.db"
    with in_place_of(lock, link_to(SHADOW)):
        said = run("proxy-gpt-admin", "backup", str(copy), fails=True)
    assert "is a link" in said and not copy.exists(), said
    assert facts(SHADOW) == before
    run("proxy-gpt-admin", "backup", str(copy))
    assert copy.owner() == "root"
    copy.unlink()


def no_socket_of_roots_lies_in_the_services_directory():
    """systemd binds by name, and then gives the name to the service's user."""
    assert not list(STATE.glob("*.sock"))
    before = facts(SHADOW)
    stop_everything()
    for _ in range(3):
        with in_place_of(STATE / "bell.sock", link_to(SHADOW)):
            run("systemctl", "start", "proxy-gpt.target")
            wait_for(lambda: workers() == TWO_WORKERS, "two workers", 60)
            assert is_served() and facts(SHADOW) == before
            stop_everything()
    run("systemctl", "start", "proxy-gpt.target")
    assert is_served()
    for name in SOCKETS:
        path = run("systemctl", "show", "-P", "Listen", name).split()[0]
        directory = pathlib.Path(path).parent
        while str(directory) != "/":
            assert directory.owner() == "root" and not directory.stat().st_mode & 0o022, (name, directory)
            directory = directory.parent
    # Workers are told by the descriptor where to ring.
    for unit in TWO_WORKERS:
        told = pathlib.Path(f"/proc/{pid(unit)}/environ").read_text().split("\0")
        [names] = [line for line in told if line.startswith("LISTEN_FDNAMES=")]
        assert "bell" in names, names
    Audience("mock?chunks=20&chunk-delay-ms=20").check()


def root_restores_nothing_of_roots_by_a_name_of_the_services():
    word = "only-root-may-read-this"
    before = facts(SHADOW)
    shell(f"proxy-gpt-admin backup {SECRET}")
    run("python3", "-c", "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); "
        f"d.execute(\"INSERT INTO login_failures (key, count, last_at) VALUES ('{word}', 0, 0)\"); d.commit()",
        str(SECRET))  # fmt: skip
    secret = facts(SECRET)
    hidden = pathlib.Path("/root/hidden")
    hidden.mkdir(exist_ok=True, mode=0o700)
    shutil.copy(SHADOW, hidden / "shadow")
    stop_everything()
    try:
        root = SHADOW.read_text().splitlines()[0]
        with Greedy(word) as greedy, Greedy(root) as other:
            for make, name in (
                (link_to(SHADOW), ""),
                (link_to(SECRET), ""),
                (link_to("/etc"), "/shadow"),
                (link_to("/root"), "/secret.db"),
                (link_to("/root/hidden"), "/shadow"),
                (os.mkfifo, ""),
                (link_to("/dev/zero"), ""),
            ):
                with in_place_of(STATE / "backup.db", make) as path:
                    for _ in range(3):
                        start = time.monotonic()
                        said = run("proxy-gpt-admin", "restore", "--yes", f"{path}{name}", fails=True)
                        assert time.monotonic() - start < 30
                        assert "is the database now" not in said, said
                        said = run("proxy-gpt-admin", "backup", f"{path}{name or '/'}-2", fails=True)
                        assert "checked" not in said, said
            # Files of root's that are no databases, named by root itself.
            for path in (SHADOW, "/dev/zero"):
                said = run("proxy-gpt-admin", "restore", "--yes", str(path), fails=True)
                assert "is the database now" not in said, said
        assert not greedy.found and not other.found, (greedy.found, other.found)
        assert facts(SHADOW) == before and facts(SECRET) == secret
        assert not list(pathlib.Path("/etc").glob("shadow-2*")) and sorted(hidden.iterdir()) == [hidden / "shadow"]
    finally:
        SECRET.unlink()
        shutil.rmtree(hidden)
        run("systemctl", "start", "proxy-gpt.target")
    assert is_served()
