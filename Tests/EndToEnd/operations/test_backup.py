"""A backup of a service under load holds all that was acknowledged, and can be restored."""

import contextlib
import json
import os
import sqlite3
import threading

from admin import ok, post, refused
from client import call
from stack import Stack, wait_for

PASSWORD = "password-1"
# Large prompts turn the WAL over: checkpoints fall into the time of the backups.
PROMPT = "x" * 60_000


class Load:
    """Prompts from several clients at once, and which of them were answered."""

    def __init__(self, stack, clients=4):
        self._stack, self._stopping = stack, threading.Event()
        self._lock, self._acknowledged, self._failures = threading.Lock(), {}, []
        self.token, self.user = stack.signup("loader", PASSWORD)
        self.chats = [
            post(stack, self.token, "/chat/create", name=f"chat {index}")["id"]
            for index in range(clients)
        ]
        self._threads = [
            threading.Thread(target=self._prompt, args=(chat,)) for chat in self.chats
        ]
        for thread in self._threads:
            thread.start()

    def _prompt(self, chat):
        form = {"id": chat, "prompt": PROMPT, "context": "0"}
        while not self._stopping.is_set():
            try:
                answer = call(
                    self._stack.url, "POST", "/chat/prompt", token=self.token, form=form
                )
                assert answer.status == 200, answer
            except Exception as error:
                self._failures.append(error)
                return
            message = answer.json["message"]
            with self._lock:
                self._acknowledged[message["id"]] = message["reply"]

    def acknowledged(self):
        with self._lock:
            return dict(self._acknowledged)

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        assert not self._failures, self._failures[:3]


def look(file):
    """The replies of a backup by id, after SQLite has looked at every page of it."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        return dict(database.execute("SELECT id, reply FROM messages"))


def test_a_backup_under_load_restored_elsewhere_has_every_acknowledged_message(tmp_path):
    backups = []
    with Stack() as stack:
        load = Load(stack)
        try:
            for index in range(6):
                goal = 80 * (index + 1)
                wait_for(lambda: len(load.acknowledged()) > goal, "prompts to be answered", 60)
                file, before = tmp_path / f"backup-{index}.db", load.acknowledged()
                report = ok(stack, "backup", file)
                assert report["bytes"] == file.stat().st_size
                backups.append((file, before))
        finally:
            load.stop()
        assert "is there already" in refused(stack, "backup", backups[0][0])
        assert "the service runs" in refused(stack, "restore", backups[0][0], "--yes")
        # A checkpoint has fallen into the load: the file itself has grown.
        assert os.path.getsize(stack.database) > 10 * 2**20
    assert sorted(os.listdir(tmp_path)) == sorted(file.name for file, _ in backups)
    for file, before in backups:
        stored = look(file)
        missing = [id for id, reply in before.items() if stored.get(id) != reply]
        assert not missing, f"{len(missing)} of {len(before)} are missing in {file.name}"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    file, before = backups[-1]
    nobody = {"workers": 0, "nginx": False, "mock": False, "streamer": False}
    with Stack(**nobody, state_directory=elsewhere) as stack:
        (elsewhere / "bus.db").write_bytes(b"of another database")
        assert ok(stack, "restore", file, "--yes")["kept"] is None
        assert not (elsewhere / "bus.db").exists()
    with Stack(state_directory=elsewhere) as stack:
        # The old token is good, and every message is read through the API.
        found = {}
        for chat in load.chats:
            form, more = {"id": chat, "limit": "100"}, True
            while more:
                page = post(stack, load.token, "/chat/read", **form)
                found.update({message["id"]: message["reply"] for message in page["messages"]})
                more = page["has_more"]
                form["before"] = page["messages"][0]["id"]
        assert before.items() <= found.items()
        post(stack, load.token, "/chat/prompt", id=load.chats[0], prompt="and it goes on")


def test_a_restore_goes_back_and_keeps_what_was_there(tmp_path):
    with Stack(workers=1) as stack:
        stack.signup("before", PASSWORD)
        file = tmp_path / "backup.db"
        ok(stack, "backup", file)
        stack.signup("after", PASSWORD)
        stack.stop_worker(stack.workers[0])
        assert "stop it first" in refused(stack, "restore", file, "--yes")
        stack.stop_streamer()
        text = tmp_path / "text"
        text.write_text("no database at all\n" * 100)
        assert "is no database" in refused(stack, "restore", text, "--yes")
        assert "--yes" in refused(stack, "restore", file)
        kept = ok(stack, "restore", file, "--yes")["kept"]
        assert os.stat(stack.database).st_mode & 0o777 == 0o600
        names = [user["username"] for user in ok(stack, "list")["users"]]
        assert names == ["before"]
        events = ok(stack, "events", "--type", "admin")["events"]
        assert "restore" in [event["path"] for event in events]
        with contextlib.closing(sqlite3.connect(kept)) as database:
            names = {row[0] for row in database.execute("SELECT username FROM users")}
        assert names == {"before", "after"}
        assert json.dumps(kept).count("before-restore-") == 1
