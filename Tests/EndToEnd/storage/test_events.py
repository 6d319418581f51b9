"""Event rows: one for each answered request, with its user and its outcome.

Everything happens once, in one stack whose workers then stop; the tests read what was stored.
"""

import contextlib
import http.client
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import client
import database
import pytest
from client import JSON, call, chat
from stack import Stack, wait_for

DATABASES = ("sqlite", "postgresql+redis")

AS_JSON = ("Content-Type", JSON)
LIMIT = 16 * 1024
USAGE = {"include_usage": True}


class Told:
    """What was done, by request id, and the rows that tell of it."""

    def __init__(self):
        self.answers, self.rows, self.bodies, self.users = {}, {}, {}, {}


def do(stack, told, name, method, path, body=None, headers=(), **options):
    headers = [("X-Request-Id", name), *headers]
    told.answers[name] = call(stack.url, method, path, body, headers, **options)
    return told.answers[name]


def leave_in_mid_stream(stack, token, name, model, pieces):
    """Reads the head and some pieces of a stream, then goes away."""
    body = chat(model, stream=True)
    headers = [("X-Request-Id", name)]
    with client.raw_socket(stack.url) as connection:
        connection.sendall(
            client.raw_request("POST", "/v1/chat/completions", token, body, headers)
        )
        seen = b""
        while seen.count(b"data: ") < pieces:
            seen += connection.recv(65536)


@pytest.fixture(scope="module")
def told(database_kind):
    told = Told()
    settings = {"IDLE_TIMEOUT": "3", "FIRST_BYTE_TIMEOUT": "3"}
    with Stack(settings=settings, database=database_kind) as stack:
        told.before = int(time.time() * 1000)
        form = {"username": "shared", "password": "password-1"}
        token = do(stack, told, "signup", "POST", "/user/signup", form=form).json["token"]
        told.user = told.answers["signup"].json["user"]["id"]
        do(stack, told, "login", "POST", "/user/login", form=form)
        form["password"] = "password-2"
        do(stack, told, "wrong", "POST", "/user/login", form=form)
        do(stack, told, "read", "GET", "/user/read?_x=secret-of-the-query", token=token)
        do(stack, told, "missing", "GET", "/nowhere?x=secret-of-the-query", token=token)
        do(stack, told, "stranger", "GET", "/v1/models", token="wrong")

        def post(name, body, path="/v1/chat/completions", **more):
            return do(stack, told, name, "POST", path, body, [AS_JSON], token=token, **more)

        post("chat", chat(), source="127.0.0.3")
        post("stream", chat(stream=True, stream_options=USAGE))
        post("stream-without-usage", chat(stream=True))
        post("embeddings", b'{"input":"hello world, hello","model":"text-embedding-3-small"}',
             "/v1/embeddings?x=secret-of-the-query")  # fmt: skip
        post("refused", chat("mock?status=429"))
        post("large", chat("mock?bytes=40000", content="y" * 40_000))
        post("no-json", b'{"model":"unfinished', "/v1/echo")
        do(stack, told, "models", "GET", "/v1/models", token=token)
        do(stack, told, "head", "HEAD", "/v1/echo", token=token)
        post("slow", chat("mock?hang"))
        with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
            post("cut", chat("mock?chunks=9&cut-after=3", stream=True))
        with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
            post("idle", chat("mock?chunks=9&chunk-delay-ms=60000", stream=True))
        leave_in_mid_stream(stack, token, "left", "mock?endless&chunk-delay-ms=200", 2)
        wait_for(lambda: stack.mock("/mock/stats")["in_flight"] == 0, "all calls to end")
        told.after = int(time.time() * 1000)
        told.upstream_ids = {
            name: answer.header("X-Upstream-Request-Id") for name, answer in told.answers.items()
        }
        database.stop_workers(stack)
        told.rows = database.events(stack)
        told.all_rows = database.rows(stack, "SELECT * FROM events")
        bodies = database.rows(stack, "SELECT * FROM event_bodies")
        told.bodies = {row["id"]: row for row in bodies}
        yield told


def row_of(told, name):
    assert name in told.rows, sorted(told.rows)
    return told.rows[name]


def test_every_answered_request_is_one_closed_row(told):
    for name, answer in told.answers.items():
        found = [row for row in told.all_rows if row["request_id"] == name]
        requests = [row for row in found if row["type"] != "login_failure"]
        assert len(requests) == 1, name
        assert requests[0]["end"], name
        assert requests[0]["status"] == answer.status, name


def test_a_row_has_time_user_address_and_path(told):
    row = row_of(told, "chat")
    assert uuid.UUID(row["id"]).version == 7
    assert told.before <= row["timestamp"] <= told.after
    assert (row["type"], row["user_id"]) == ("forward", told.user)
    assert (row["client_ip"], row_of(told, "read")["client_ip"]) == ("127.0.0.3", "127.0.0.1")
    assert (row["method"], row["path"]) == ("POST", "/v1/chat/completions")
    assert (row["status"], row["upstream_status"], row["end"]) == (200, 200, "done")
    assert 0 < row["upstream_us"] <= row["duration_us"] < 60_000_000
    assert row["upstream_request_id"] == told.upstream_ids["chat"]
    assert row["bytes_in"] == len(chat())
    assert row["bytes_out"] == len(told.answers["chat"].body)


def test_a_row_of_our_own_endpoints_has_no_upstream(told):
    for name in ("signup", "login", "read"):
        row = row_of(told, name)
        assert (row["type"], row["user_id"], row["end"]) == ("request", told.user, "done")
        assert row["upstream_status"] is None and row["model"] is None
        assert row["bytes_out"] == len(told.answers[name].body) and row["duration_us"] > 0
    assert row_of(told, "missing")["status"] == 404


def test_no_row_holds_a_query(told):
    assert row_of(told, "read")["path"] == "/user/read"
    assert row_of(told, "embeddings")["path"] == "/v1/embeddings"
    assert "secret-of-the-query" not in repr(told.all_rows)


def test_usage_and_model_of_a_json_reply_are_taken(told):
    reply = told.answers["chat"].json
    row = row_of(told, "chat")
    assert row["model"] == "mock"
    usage = (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == usage
    row, reply = row_of(told, "embeddings"), told.answers["embeddings"].json
    assert row["model"] == "text-embedding-3-small"
    usage = (reply["usage"]["prompt_tokens"], None)
    assert (row["prompt_tokens"], row["completion_tokens"]) == usage


def test_usage_of_a_stream_is_taken_from_the_event_that_carries_it(told):
    usage = told.answers["chat"].json["usage"]
    row = row_of(told, "stream")
    assert (row["prompt_tokens"], row["completion_tokens"], row["model"]) == (
        usage["prompt_tokens"], usage["completion_tokens"], "mock",
    )  # fmt: skip
    row = row_of(told, "stream-without-usage")
    assert (row["prompt_tokens"], row["completion_tokens"], row["model"]) == (None, None, "mock")


def test_errors_of_the_upstream_are_recorded_as_such(told):
    row = row_of(told, "refused")
    assert (row["status"], row["upstream_status"], row["end"]) == (429, 429, "done")
    # The model's name is the request's where the reply tells none.
    assert row["model"] == "mock?status=429"


def test_a_request_that_is_no_json_has_no_model(told):
    assert row_of(told, "no-json")["model"] is None


@pytest.mark.parametrize(
    "name, status, end",
    [("slow", 504, "timeout"), ("idle", 200, "timeout"), ("cut", 200, "upstream_cut"),
     ("left", 200, "client_gone"), ("head", 200, "done")],
)  # fmt: skip
def test_the_end_of_a_call_is_recorded(told, name, status, end):
    row = row_of(told, name)
    assert (row["status"], row["end"]) == (status, end)


def test_a_failed_login_is_an_event_of_its_own(told):
    found = [row for row in told.all_rows if row["type"] == "login_failure"]
    assert [row["request_id"] for row in found] == ["wrong"]
    assert (found[0]["client_ip"], found[0]["status"]) == ("127.0.0.1", 401)


def test_a_stranger_is_recorded_without_a_user(told):
    row = row_of(told, "stranger")
    assert (row["status"], row["user_id"], row["path"]) == (401, None, "/v1/models")


# Bodies


def bodies_of(told, name):
    return told.bodies.get(row_of(told, name)["id"])


def test_bodies_of_v1_calls_are_kept(told):
    kept = bodies_of(told, "chat")
    assert bytes(kept["request"]) == chat()
    assert bytes(kept["response"]) == told.answers["chat"].body
    kept = bodies_of(told, "stream")
    assert bytes(kept["response"]) == told.answers["stream"].body


def test_bodies_are_cut_at_16_kib(told):
    kept = bodies_of(told, "large")
    assert bytes(kept["request"]) == chat("mock?bytes=40000", content="y" * 40_000)[:LIMIT]
    assert bytes(kept["response"]) == told.answers["large"].body[:LIMIT]
    assert row_of(told, "large")["bytes_out"] == len(told.answers["large"].body) > LIMIT


def test_bodies_of_our_own_endpoints_are_not_kept(told):
    for name in ("signup", "login", "wrong", "read", "stranger"):
        assert bodies_of(told, name) is None
    stored = repr([(row["request"], row["response"]) for row in told.bodies.values()])
    assert "password-1" not in stored and "pgpt_" not in stored


def test_no_body_is_kept_where_the_operator_says_so():
    with Stack(workers=1, settings={"EVENT_BODIES": "off"}) as stack:
        token, _ = stack.signup()
        for body in (chat(), chat(stream=True)):
            headers = [AS_JSON]
            call(stack.url, "POST", "/v1/chat/completions", body, headers, token=token)
        database.stop_workers(stack)
        forwarded = database.rows(stack, "SELECT * FROM events WHERE type = 'forward'")
        assert len(forwarded) == 2 and all(row["model"] == "mock" for row in forwarded)
        assert database.rows(stack, "SELECT * FROM event_bodies") == []


# Strangers


def test_strangers_get_a_hundred_rows_and_then_a_count():
    """Requests as fast as a client sends them: all are answered, few are stored."""
    count = 1500
    with Stack(workers=1) as stack:
        request = client.raw_request("GET", "/v1/models", token="wrong")

        def ask(number):
            with client.raw_socket(stack.url) as connection:
                for _ in range(number):
                    connection.sendall(request)
                    response = http.client.HTTPResponse(connection)
                    response.begin()
                    assert response.status == 401
                    response.read()

        began = time.monotonic()
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, [count // 6] * 6))
        assert stack.mock("/mock/calls") == []
        database.stop_workers(stack)
        minutes = int((time.monotonic() - began) // 60)
        own = database.rows(stack, "SELECT * FROM events WHERE status = 401 AND type = 'request'")
        counted = database.rows(stack, "SELECT * FROM events WHERE type = 'refused'")
        assert len(own) == 100
        assert len(own) + sum(int(row["detail"].split()[0]) for row in counted) == count
        assert 1 <= len(counted) <= minutes + 1 and {row["status"] for row in counted} == {401}
