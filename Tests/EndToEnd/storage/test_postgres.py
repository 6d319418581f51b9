"""PostgreSQL as the database: what clients see when it goes, what operators see when it cannot be."""

import threading
import time
import uuid

import cluster
import database
import pytest
from client import call, check_error
from person import Person
from relay import CAN_CUT, Behind, Network, Relay
from stack import Stack, StackError, wait_for

CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def server():
    """A server that may be stopped, and has room for few; durable as an operator's is."""
    own = cluster.Cluster("max_connections=25", "fsync=on")
    yield own
    own.close()


@pytest.fixture
def stack(server, tmp_path):
    name = server.database(str(tmp_path))
    with Stack(database=(server, name), state_directory=tmp_path) as running:
        yield running


def post(stack, token, path, **options):
    return call(stack.url, "POST", path, token=token, **options)


@pytest.mark.alone
def test_a_server_that_goes_is_503_at_once_and_calls_are_refused_unrecorded(stack, server):
    person = Person(stack)
    chat = person.chat()
    server.command("stop")
    try:
        wait_for(
            lambda: call(stack.url, "GET", "/user/session", token=person.token).status == 503,
            "the workers to notice",
        )
        stack.mock_delete("/mock/calls")
        for method, path, options in (
            ("GET", "/user/session", {}),
            ("GET", "/chat/index", {}),
            ("POST", "/chat/create", {"form": {"name": "x"}}),
            ("POST", "/chat/prompt", {"form": {"id": chat, "prompt": "x"}}),
            ("POST", "/v1/chat/completions", {"json": CHAT}),
            ("POST", "/user/login", {"form": {"username": "a", "password": "password-1"}}),
        ):
            start = time.monotonic()
            answer = call(stack.url, method, path, token=person.token, **options)
            check_error(answer, 503, "unavailable")
            assert answer.header("Retry-After")
            assert time.monotonic() - start < 2, path
        assert stack.mock("/mock/calls") == []
    finally:
        server.command("start")
    # Each finds it by itself.
    wait_for(
        lambda: all("database reached again" in stack.worker_log(it) for it in stack.workers),
        "the workers to be back",
    )
    assert post(stack, person.token, "/v1/chat/completions", json=CHAT).status == 200
    assert person.do("/chat/index")["chats"][0]["id"] == chat


def test_a_crash_under_load_loses_no_answered_call(stack, server):
    person = Person(stack)
    answered, failures, over = [], [], threading.Event()

    def load():
        while not over.is_set():
            number = str(uuid.uuid4())
            answer = call(
                stack.url, "POST", "/v1/chat/completions", token=person.token, json=CHAT,
                headers={"X-Request-Id": number},
            )  # fmt: skip
            if answer.status == 200:
                answered.append(number)
            else:
                failures.append(answer.status)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        goal = len(answered) + 50
        wait_for(lambda goal=goal: len(answered) >= goal, "calls to be answered", 30)
        server.command("restart")
    goal = len(answered) + 50
    wait_for(lambda: len(answered) >= goal, "calls to be answered again", 30)
    over.set()
    for thread in threads:
        thread.join()
    assert set(failures) <= {503}
    database.stop_workers(stack)
    rows = database.events(stack)
    assert [number for number in answered if rows[number]["end"] != "done"] == []


@pytest.mark.skipif(not CAN_CUT, reason="network namespaces are not permitted here")
@pytest.mark.alone
def test_a_network_that_is_cut_lets_nobody_wait_for_long(server, tmp_path):
    answers, over = [], threading.Event()
    with Network() as network, Relay(server.directory + "/.s.PGSQL.5432", network) as relay:
        place = (Behind(server, relay), server.database(str(tmp_path)))
        with Stack(database=place, state_directory=tmp_path) as stack:
            person = Person(stack)

            def load():
                while not over.is_set():
                    begun = time.monotonic()
                    answer = call(stack.url, "GET", "/chat/index", token=person.token)
                    answers.append((answer.status, time.monotonic() - begun))
                    over.wait(0.05)

            threads = [threading.Thread(target=load) for _ in range(8)]
            for thread in threads:
                thread.start()
            network.cut()
            wait_for(
                lambda: all("database away" in stack.worker_log(it) for it in stack.workers),
                "the workers to notice",
            )
            goal = len(answers) + 50
            wait_for(lambda: len(answers) >= goal, "calls to be refused")
            network.mend()
            wait_for(lambda: answers[-1][0] == 200, "calls to succeed again", 30)
            over.set()
            for thread in threads:
                thread.join()
    assert {status for status, _ in answers} == {200, 503}
    assert max(seconds for _, seconds in answers) < 5


def test_a_killed_worker_is_closed_for_by_the_clock_of_the_server(stack):
    person = Person(stack)
    assert post(stack, person.token, "/v1/chat/completions", json=CHAT).status == 200
    stack.kill_worker(stack.workers[0])
    assert len(database.rows_of_copy(stack, "SELECT id FROM processes")) == 3

    def closed():
        return len(database.rows_of_copy(stack, "SELECT id FROM processes")) == 2

    wait_for(closed, "the dead process to be taken off", 30)


def test_what_does_not_fit_does_not_start(stack):
    with pytest.raises(StackError):
        for _ in range(4):
            stack.start_worker()
    # Two workers, the streamer and as many as fit beside them: 22 connections are for anybody.
    assert len(stack.workers) == 4
    logs = "".join(stack.logs().values())
    assert "6 processes of 4 connections each (DB_CONNECTIONS) need 24, PostgreSQL allows 22" in logs


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://u:canary-secret@h/d", "DB_ADDRESS must begin with postgresql://"),
        ("postgresql://u:canary-secret@h/d?sslmod=x", "DB_ADDRESS cannot be used"),
        ("postgresql://u:canary-secret@/d?host=/nowhere", "/nowhere"),
    ],
)
def test_an_address_that_cannot_be_used_stops_the_start_and_is_not_shown(tmp_path, address, words):
    stack = Stack(workers=0, mock=False, streamer=False, nginx=False, state_directory=tmp_path,
                  settings={"API_URL": "http://127.0.0.1:9", "DB_ADDRESS": address},
                  database="sqlite")  # fmt: skip
    with stack:
        with pytest.raises(StackError):
            stack.start_worker()
        log = "".join(stack.logs().values())
        assert words in log
        assert "canary-secret" not in log


def test_the_operators_commands_work_on_it(stack):
    person = Person(stack)
    code, out, err = stack.admin("list", "--json")
    assert (code, err) == (0, "")
    assert person.id in out
    code, out, err = stack.admin("doctor")
    assert code == 0, out + err
    assert "PostgreSQL 15" in out
    name = person.do("/user/session")["user"]["username"]
    assert stack.admin("reset", name, "Password1")[0] == 0
    check_error(call(stack.url, "GET", "/user/session", token=person.token), 401, "unauthorized")
    for command, program in (("backup", "pg_dump"), ("restore", "pg_restore")):
        code, out, err = stack.admin(command, "copy.db")
        assert (code, out) == (1, "")
        assert err.count("\n") == 1 and program in err and "foobar" not in err


def test_no_password_of_the_database_is_in_any_log(stack):
    Person(stack)
    assert "foobar" not in "".join(stack.logs().values())
    code, out, err = stack.admin("config")
    assert "foobar" not in out + err
