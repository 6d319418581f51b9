"""The command of the nightly timer: what is older than the settings say goes, by two processes at once too."""

import json
import time

import database
import pytest
from stack import Stack

DATABASES = ("sqlite", "postgresql")

OLD = 1200


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
            f"('{identifier(number)}', 0, 'request', '', '', 'GET', '/', 0, 0, 'done', 'p')"
            for number in range(OLD)
        )
        database.change(
            stack,
            "INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path,"
            f" bytes_in, bytes_out, \"end\", process) VALUES {values}",
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


def test_rows_are_kept_for_ever_where_the_operator_says_so(stopped):
    code, out, err = stopped.admin("retention", settings={"EVENT_ROW_DAYS": 0, "EVENT_DAYS": 3650})
    assert code == 0, err
    assert count(stopped, "events") >= OLD and "for ever" in out
    assert count(stopped, "event_bodies") == 0


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


def test_no_body_outlives_its_row(stopped):
    database.change(stopped, f"INSERT INTO event_bodies (id) VALUES ('{identifier(1)}')")
    settings = {"EVENT_ROW_DAYS": 1, "EVENT_DAYS": 3650}
    code, _, err = stopped.admin("retention", settings=settings)
    assert code == 0, err
    assert count(stopped, "event_bodies") == 0
