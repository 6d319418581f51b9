"""Clocks that are set while the service runs, and hosts whose clocks differ."""

import time

import cluster
import database
import pytest
from client import call, check_error, rate_limited
from false_clock import FalseClock
from person import Person
from redis_server import Redis
from sse import Stream
from stack import Stack, wait_for
from upstream import Upstream, hold

HOUR, DAY = 3600, 86_400


@pytest.fixture(scope="module")
def upstream():
    with Upstream(hold=hold) as running:
        yield running


@pytest.fixture
def clock():
    with FalseClock() as running:
        yield running


def test_a_clock_that_goes_back_keeps_no_reply_of_a_dead_worker_running(upstream, clock):
    settings = {"API_URL": upstream.url, "MAX_REPLIES_PER_USER": "1", **clock.settings}
    with Stack(mock=False, settings=settings) as stack:
        person = Person(stack)
        chat = person.chat()
        with Stream(stack.url, chat, person.token).begin() as stream:
            sent = person.prompt(chat, f"hold {chat}", stream=True)
            stream.read(lambda stream: stream.words(sent["id"]) == "first words")
            for worker in list(stack.workers):
                stack.kill_worker(worker)
            clock.set(-HOUR)
            stack.start_worker()
            check_error(person.post("/chat/prompt", id=chat, prompt="p"), 429, "rate_limited")
            # A lease of 15 s, and a look a second.
            stream.read(lambda stream: stream.ends, cap=30)
            assert (stream.ends[0]["id"], stream.ends[0]["state"]) == (sent["id"], "failed")
        assert person.prompt(chat, "next")["state"] == "done"


def clock_finding(stack, clock):
    _, out, _ = stack.admin("doctor", settings=clock.settings)
    [line] = [line for line in out.splitlines() if line.startswith("clock")]
    return line.split(None, 2)[1:]


def test_a_host_whose_clock_is_wrong_deletes_nothing_and_delays_wrong_logins(upstream, clock):
    server = cluster.shared()
    place = (server, server.database("clocks"))
    with Redis() as redis:
        settings = {"API_URL": upstream.url, "REDIS_ADDRESS": redis.address}
        with Stack(mock=False, settings=settings, database=place) as one:

            def rows(statement):
                return database.rows_of_copy(one, statement)

            def beats():
                found = rows("SELECT id, heartbeat FROM processes")
                return {row["id"]: row["heartbeat"] for row in found}

            here = Person(one)
            chat = here.chat()
            here.prompt(chat, "kept")
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "kept"}]}
            answer = call(one.url, "POST", "/v1/chat/completions", token=here.token, json=body)
            assert answer.status == 200, answer
            ours = beats()

            def kept():
                return [
                    rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"]
                    for table in ("sessions", "event_bodies", "messages")
                ]

            before = kept()
            assert all(before), before
            clock.set(40 * DAY)
            with Stack(
                mock=False, settings={**settings, **clock.settings}, database=place
            ) as other:
                answer = call(other.url, "GET", "/ready")
                check_error(answer, 503, "unavailable")
                assert "ahead of the database's" in answer.error["message"]
                assert call(one.url, "GET", "/ready").status == 200
                result, text = clock_finding(other, clock)
                seconds = float(text.removeprefix("this host's is ").split(" s ahead of")[0])
                assert result == "broken" and abs(seconds - 40 * DAY) < 10, text
                # A process cleans up with its first beat after the start, which ends before the next.
                begun = {id: beat for id, beat in beats().items() if id not in ours}
                wait_for(
                    lambda: all(beats().get(id, 0) > beat + 9000 for id, beat in begun.items()),
                    "two beats of the other host", 30,
                )  # fmt: skip
                assert kept() == before
                assert here.do("/user/session")["user"]["id"] == here.id
                assert set(ours) <= set(beats()), "nobody is taken for dead"

                clock.set(-2 * HOUR)
                ready = {}

                def is_behind():
                    ready["last"] = call(other.url, "GET", "/ready")
                    return "behind the database's" in ready["last"].body.decode()

                wait_for(is_behind, "the host to see that its clock is behind", 30)
                check_error(ready["last"], 503, "unavailable")
                assert clock_finding(other, clock)[0] == "broken"

                def fail(stack):
                    form = {"username": here.name, "password": "wrong-password"}
                    return call(
                        stack.url, "POST", "/user/login", form=form, source="127.77.3.2"
                    )

                for stack in (one, other, one, other, one):
                    begun = time.monotonic()
                    check_error(fail(stack), 401, "unauthorized")
                rate_limited(lambda: fail(other), begun)
            assert clock_finding(one, clock)[0] == "broken"
            clock.set(0)
            assert clock_finding(one, clock)[0] == "ok"
