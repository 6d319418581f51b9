"""Numbers and words in the database that this release has not written: nothing ends for them."""

import contextlib
import sqlite3

import database
import pytest
from client import call
from stack import Stack, wait_for

EXTREMES = (2**63 - 1, -(2**63))
DATABASES = ("sqlite", "postgresql")
COMMANDS = (
    "events", "events --format csv", "events --json", "usage", "usage --by day --json", "list",
    "user owner", "sessions", "chats", "chats --json", "doctor", "retention",
)  # fmt: skip
LOG_IN = {"username": "owner", "password": "password-1"}


def numbers(stack):
    """The columns of integers of all tables but those that say what the database is, with their sizes."""
    if stack.server:
        rows = stack.server.rows(
            stack.database_name,
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type IN ('bigint', 'integer')",
        )
        found = [tuple(row.values()) for row in rows]
    else:
        with contextlib.closing(sqlite3.connect(stack.database)) as opened:
            found = opened.execute(
                "SELECT t.name, c.name, 'bigint' FROM sqlite_master AS t, pragma_table_info(t.name) AS c"
                " WHERE t.type = 'table' AND c.type = 'INTEGER'"
            ).fetchall()
    return [column for column in found if column[0] not in ("schema_migrations", "moves")]


def poison(stack, value):
    """Puts the number in the place of all others in each column that takes it."""
    for table, column, kind in numbers(stack):
        if kind == "bigint" or -(2**31) <= value < 2**31:
            with contextlib.suppress(sqlite3.IntegrityError, AssertionError):
                database.change(stack, f'UPDATE {table} SET "{column}" = {value} WHERE "{column}" IS NOT NULL')


@pytest.mark.parametrize("value", EXTREMES)
def test_a_number_of_any_size_in_any_column_ends_no_process(value, tmp_path):
    with Stack(workers=1, state_directory=str(tmp_path)) as stack:
        token, _ = stack.signup("owner")
        group = call(stack.url, "POST", "/group/create", form={"name": "g"}, token=token).json["id"]
        chats = [
            call(stack.url, "POST", "/chat/create", form=form, token=token).json["id"]
            for form in ({}, {"group_id": group})
        ]
        for chat in chats:
            form = {"id": chat, "prompt": "hello"}
            assert call(stack.url, "POST", "/chat/prompt", form=form, token=token).status == 200
        call(stack.url, "POST", "/user/login", form=LOG_IN | {"password": "wrong"})
        assert call(stack.url, "GET", "/v1/models", token=token).status == 200
        database.stop_workers(stack)
        poison(stack, value)
        for command in COMMANDS:
            code, _, errors = stack.admin(*command.split())
            assert code in (0, 1) and "Fatal" not in errors, (command, code, errors)
    with Stack(workers=1, state_directory=str(tmp_path)) as stack:
        pids = [worker.pid for worker in stack.workers]
        answers = [call(stack.url, "POST", "/user/login", form=LOG_IN)]
        with contextlib.suppress(KeyError, TypeError):
            token = answers[0].json["token"]
        for path, form in (
            ("/user/session", {}), ("/user/read", {}), ("/chat/index", {}), ("/group/index", {}),
            ("/group/read", {"id": group}), ("/group/members", {"id": group}),
            *[(path, {"id": chat, **more}) for chat in chats for path, more in (
                ("/chat/read", {}), ("/chat/prompt", {"prompt": "again"}), ("/chat/update", {"name": "n"}),
            )],
            ("/user/password/update", {"old_password": "password-1", "new_password": "password-1"}),
        ):  # fmt: skip
            answers.append(call(stack.url, "POST", path, form=form, token=token))
        assert all(answer.status in (200, 401, 404, 429, 500) for answer in answers), answers
        assert all(process.poll() is None for process in stack.workers)
        assert [worker.pid for worker in stack.workers] == pids


def test_words_of_a_newer_release_are_the_weakest_known_and_logged_once(tmp_path):
    with Stack(workers=1, state_directory=str(tmp_path)) as stack:
        token, _ = stack.signup("owner")
        chat = call(stack.url, "POST", "/chat/create", form={}, token=token).json["id"]
        form = {"id": chat, "prompt": "hello"}
        assert call(stack.url, "POST", "/chat/prompt", form=form, token=token).status == 200
        database.stop_workers(stack)
        database.change(stack, "UPDATE users SET role = 'auditor'")
        database.change(stack, "UPDATE messages SET state = 'paused'")
    with Stack(workers=1, state_directory=str(tmp_path)) as stack:
        for _ in range(3):
            answer = call(stack.url, "GET", "/user/session", token=token)
            assert answer.status == 200 and answer.json["user"]["role"] == "user", answer
            answer = call(stack.url, "POST", "/chat/read", form={"id": chat}, token=token)
            assert answer.status == 200, answer
            assert [message["state"] for message in answer.json["messages"]] == ["failed"]
        assert call(stack.url, "POST", "/chat/prompt", form=form, token=token).status == 200
        [worker] = stack.workers
        words = "a column holds a word that this release does not know"
        wait_for(lambda: stack.worker_log(worker).count(words) >= 2, "the words in the log")
        # Further ones would come with the next heartbeat.
        call(stack.url, "POST", "/chat/read", form={"id": chat}, token=token)
        assert stack.worker_log(worker).count(words) == 2
