"""The command of the nightly timer: what is older than the settings say goes, by two processes at once too, and
usage outlives it. And commands that show much, of a database in which there is much."""

import json
import time

import database
import pytest
from stack import Stack

DATABASES = ("sqlite", "postgresql")

OLD = 1200
# Of the identifiers of the old rows.
DAY = "2004-11-03"


def identifier(number):
    """Ids sort by time; these are of 2004."""
    return f"01000000-0000-7000-8000-{number:012d}"


def add_event(stack, identifier, milliseconds):
    database.change(
        stack,
        "INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path,"
        " bytes_in, bytes_out, \"end\", process)"
        " VALUES (?, ?, 'request', '', '', 'GET', '/', 0, 0, 'done', 'p')",
        identifier,
        milliseconds,
    )


@pytest.fixture(scope="module")
def stopped(database_kind):
    """A database with old rows and one of today, which nobody serves."""
    options = {"nginx": False, "mock": False, "streamer": False}
    with Stack(workers=1, database=database_kind, **options) as stack:
        database.stop_workers(stack)
        values = ", ".join(
            f"('{identifier(number)}', 0, '{'request' if number % 3 else 'forward'}', '', '', 'GET',"
            f" '/', 'model-{number % 2}', {number}, 0, 0, 'done', 'p')"
            for number in range(OLD)
        )
        database.change(
            stack,
            "INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path, model,"
            f" prompt_tokens, bytes_in, bytes_out, \"end\", process) VALUES {values}",
        )
        # Without a row of the day before the clock would seem to have jumped.
        recent = int(time.time() * 1000) - 7_200_000
        add_event(stack, f"{recent >> 16:08x}-{recent & 0xFFFF:04x}-7000-8000-000000000000", recent)
        bodies = ", ".join(f"('{identifier(number)}')" for number in range(0, OLD, 4))
        database.change(stack, f"INSERT INTO event_bodies (id) VALUES {bodies}")
        yield stack


def count(stack, table):
    [row] = database.rows(stack, f"SELECT COUNT(*) AS number FROM {table}")
    return int(row["number"])


def usage(stack, *arguments):
    code, out, err = stack.admin("usage", "--json", "--since", "2004-01-01", *arguments)
    assert code == 0, err
    return json.loads(out)["usage"]


@pytest.fixture(scope="module")
def used(stopped):
    """Usage while all rows of it are there."""
    assert count(stopped, "usage_days") == 0
    found = usage(stopped)
    assert {(line["day"], line["model"]): line["prompt_tokens"] for line in found} == {
        (DAY, f"model-{kind}"): sum(range(kind, OLD, 2)) for kind in range(2)
    }
    return found


def test_rows_are_kept_for_ever_where_the_operator_says_so(stopped, used):
    code, out, err = stopped.admin("retention", settings={"EVENT_ROW_DAYS": 0, "EVENT_DAYS": 3650})
    assert code == 0, err
    assert count(stopped, "events") >= OLD and "for ever" in out
    assert count(stopped, "event_bodies") == 0
    assert count(stopped, "usage_days") == 2 and usage(stopped) == used


def test_two_at_once_remove_what_is_old_and_nothing_else(stopped):
    before = count(stopped, "events")
    commands = [stopped.start_admin("retention", "--json") for _ in range(2)]
    outputs = [command.communicate(timeout=60) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], outputs
    told = [json.loads(out) for out, _ in outputs]
    assert sum(one["events_removed"] for one in told) == OLD
    assert all((one["event_days"], one["event_row_days"]) == (30, 400) for one in told)
    # Each command is a row of its own.
    assert count(stopped, "events") == before - OLD + 2
    assert database.rows(stopped, "SELECT id FROM events WHERE id < '0150'") == []


def test_usage_outlives_the_rows(stopped, used):
    assert usage(stopped) == used
    assert usage(stopped, "--until", "2004-02-01") == []
    [line] = usage(stopped, "--until", f"{DAY}T23:59:59Z", "--by", "day")
    assert (line["day"], line["calls"]) == (DAY, OLD)


def test_lists_of_several_pages_are_one_list(stopped):
    sessions = 1201
    [user] = json.loads(stopped.admin("create", "lister", "--json", input="password-1\n")[1]).values()
    empty = "decode('%06x', 'hex')" if stopped.server else "x'%06x'"
    values = ", ".join(
        f"('session-{number:06d}', '{user['id']}', {empty % number}, 0, 0, 9000000000000000)"
        for number in range(sessions)
    )
    database.change(
        stopped,
        "INSERT INTO sessions (id, user_id, token_digest, created_at, last_used_at, expires_at)"
        f" VALUES {values}",
    )
    code, out, err = stopped.admin("sessions", "list", "lister", "--json")
    assert code == 0, err
    ids = [session["id"] for session in json.loads(out)["sessions"]]
    assert ids == [f"session-{number:06d}" for number in range(sessions)]
    lines = stopped.admin("sessions", "list", "lister")[1].splitlines()
    assert len(lines) == sessions + 1 and lines[0].startswith("ID ")
    assert {line.split()[1] for line in lines[1:]} == {"lister"}
    users = json.loads(stopped.admin("list", "--json")[1])["users"]
    assert [entry["sessions"] for entry in users if entry["username"] == "lister"] == [1000]


def test_no_body_outlives_its_row(stopped):
    database.change(stopped, f"INSERT INTO event_bodies (id) VALUES ('{identifier(1)}')")
    settings = {"EVENT_ROW_DAYS": 1, "EVENT_DAYS": 3650}
    code, _, err = stopped.admin("retention", settings=settings)
    assert code == 0, err
    assert count(stopped, "event_bodies") == 0
