"""What operators and load balancers see: health, figures, the pool's status, times, and logs."""

import json
import pathlib
import re
import sqlite3

import pytest
from client import call, check_error, exchange
from prometheus_client.parser import text_string_to_metric_families
from sse import Stream
from stack import CANARY_KEY, CHECKOUT, Stack, wait_for
from websockets.sync.client import connect

STACK = {"settings": {"LOG_LEVEL": "debug"}}


def get(stack, path, **options):
    return call(stack.url, "GET", path, **options)


def figures(stack):
    """All samples by name and labels, as an independent parser reads them."""
    answer = get(stack, "/metrics")
    assert answer.status == 200, answer
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.body.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    samples = {}
    for family in families:
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, sample
            samples[key] = sample.value
        if family.type == "histogram":
            check_histogram(family)
    return samples


def check_histogram(family):
    """Buckets grow and end with the count."""
    series = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        one = series.setdefault(frozenset(labels.items()), {"buckets": []})
        if sample.name.endswith("_bucket"):
            one["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            one[sample.name.rsplit("_", 1)[1]] = sample.value
    for one in series.values():
        bounds = [bound for bound, _ in one["buckets"]]
        counts = [count for _, count in one["buckets"]]
        assert bounds == sorted(bounds) and bounds[-1] == float("inf")
        assert counts == sorted(counts) and counts[-1] == one["count"]
        assert one["sum"] >= 0


def figure(samples, name, **labels):
    return samples.get(("proxy_gpt_" + name, frozenset(labels.items())), 0)


# Health


@pytest.mark.parametrize("path", ["/live", "/ready", "/ready/streamer"])
def test_health_needs_no_credential_and_leaves_no_trace(stack, token, path):
    answer = get(stack, path)
    assert answer.status == 200 and answer.json["status"] in ("live", "ready"), answer
    assert answer.header("X-Request-Id") and answer.header("Cache-Control") == "private, no-store"
    assert call(stack.url, "HEAD", path).status == 200
    # As balancers ask, without a Host.
    asked = call(stack.url, "OPTIONS", path)
    assert asked.status == 200 and asked.header("Allow") == "GET, HEAD, OPTIONS", asked
    old = exchange(stack.url, f"OPTIONS {path} HTTP/1.0\r\n\r\n".encode())
    assert old.status == 200, old
    check_error(call(stack.url, "POST", path, form={"a": "b"}), 405, "method_not_allowed")
    code, out, _ = stack.admin("events", "--json")
    paths = [event["path"] for event in json.loads(out)["events"]]
    assert code == 0 and paths and path not in paths


def test_a_second_host_without_redis_is_not_ready():
    with Stack(workers=1) as stack:
        assert get(stack, "/ready").status == 200
        # The same host under another name is no other one.
        write(
            stack,
            "INSERT INTO processes (id, host, machine_id, boot_id, heartbeat, uptime) "
            "SELECT 'renamed', 'renamed', machine_id, boot_id, heartbeat, uptime + 60000 "
            "FROM processes LIMIT 1",
        )
        assert get(stack, "/ready").status == 200
        assert get(stack, "/ready/streamer").status == 200
        write(
            stack,
            "INSERT INTO processes (id, host, boot_id, heartbeat) "
            "SELECT 'other', 'elsewhere', 'boot', heartbeat + 60000 FROM processes LIMIT 1",
        )
        answer = get(stack, "/ready")
        check_error(answer, 503, "unavailable")
        assert "REDIS_ADDRESS" in answer.error["message"] and answer.header("Retry-After")
        check_error(get(stack, "/ready/streamer"), 503, "unavailable")
        assert get(stack, "/live").status == 200


def write(stack, statement):
    with sqlite3.connect(stack.database, timeout=10) as database:
        database.execute(statement)
    database.close()


def test_a_bus_that_is_away_is_not_ready():
    with Stack(workers=1, settings={"REDIS_ADDRESS": "redis://127.0.0.1:1"}) as stack:
        answer = get(stack, "/ready")
        check_error(answer, 503, "unavailable")
        assert "bus" in answer.error["message"]
        # One of the streamer's ticks, and one of the worker's.
        wait_for(
            lambda: ("proxy_gpt_redis_up", frozenset()) in figures(stack), "a look at Redis"
        )
        assert figure(figures(stack), "redis_up") == 0


# Figures


def test_figures_tell_what_happened(stack, token):
    before = figures(stack)
    assert get(stack, "/v1/models", token=token).status == 200
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    for streamed in (False, True):
        request = {**body, "stream": streamed}
        if streamed:
            request["stream_options"] = {"include_usage": True}
        answer = call(stack.url, "POST", "/v1/chat/completions", token=token, json=request)
        assert answer.status == 200, answer
    assert get(stack, "/user/session").status == 401
    assert get(stack, "/no/such/path", token=token).status == 404
    wrong = call(
        stack.url, "POST", "/user/login", form={"username": "shared", "password": "wrong-one"}
    )
    assert wrong.status == 401

    def arrived():
        # Whichever worker answered, and each tells after its answer.
        after = figures(stack)
        return all(
            figure(after, "requests_total", route=route, status=status)
            - figure(before, "requests_total", route=route, status=status)
            >= count
            for route, status, count in (
                ("/v1/models", "2xx", 1),
                ("/v1/chat/completions", "2xx", 2),
                ("/user/session", "4xx", 1),
                ("other", "4xx", 1),
                ("/user/login", "4xx", 1),
            )
        )

    wait_for(arrived, "the figures of the last requests")
    after = figures(stack)

    def grown(name, **labels):
        return figure(after, name, **labels) - figure(before, name, **labels)

    completions = {"route": "/v1/chat/completions", "status": "2xx"}
    assert grown("requests_total", route="/v1/models", status="2xx") == 1
    assert grown("requests_total", **completions) == 2
    assert grown("request_seconds_count", **completions) == 2
    assert grown("overhead_seconds_count", route="/v1/chat/completions") == 2
    assert grown("requests_total", route="/user/session", status="4xx") == 1
    assert grown("login_failures_total") == 1
    assert grown("first_token_seconds_count", call="forward") == 1
    assert grown("upstream_answers_total", status="2xx") == 3
    assert grown("commit_rows_count") >= 3
    assert grown("database_wait_seconds_count", operation="event") >= 3
    assert grown("tokens_total", model="gpt-4o-mini", kind="prompt") > 0
    assert grown("tokens_total", model="gpt-4o-mini", kind="completion") > 0
    assert figure(after, "processes", process="worker") == 2
    assert figure(after, "processes", process="streamer") == 1
    assert figure(after, "database_up") == 1
    assert figure(after, "process_memory_bytes", process="worker") > 1 << 20
    assert figure(after, "process_start_time_seconds", process="worker") > 1.6e9
    # The request that reads them is under way.
    wait_for(
        lambda: figure(figures(stack), "in_flight", process="worker") == 1, "the others to end"
    )


def test_figures_of_streams(stack, token):
    before = figures(stack)
    made = call(stack.url, "POST", "/chat/create", token=token, form={"model": "mock"})
    identifier = made.json["id"]
    with Stream(stack.url, identifier, token) as stream:
        wait_for(
            lambda: figure(figures(stack), "subscribers", transport="sse") == 1, "a subscriber"
        )
        form = {"id": identifier, "prompt": "tell me", "stream": "true"}
        assert call(stack.url, "POST", "/chat/prompt", token=token, form=form).status == 200
        wait_for(
            lambda: figure(figures(stack), "frames_delivered_total", transport="sse")
            > figure(before, "frames_delivered_total", transport="sse") + 1,
            "frames",
        )

    def is_over():
        after = figures(stack)
        counts = [("subscribers", {"transport": "sse"}), ("in_flight", {"process": "streamer"})]
        return all(figure(after, name, **labels) == 0 for name, labels in counts) and after

    after = wait_for(is_over, "the end")
    assert figure(after, "streams_total", transport="sse") > figure(
        before, "streams_total", transport="sse"
    )
    assert figure(after, "streams_ended_total", reason="left") > figure(
        before, "streams_ended_total", reason="left"
    )
    assert figure(after, "bus_lag_seconds_count") > 0
    assert figure(after, "first_token_seconds_count", call="reply") > 0


def test_tokens_of_realtime_are_recorded_and_counted(stack, token):
    """The mock echoes, so what the client says is what the upstream tells."""
    usage = {"total_tokens": 30, "input_tokens": 12, "output_tokens": 18}
    message = json.dumps({"type": "response.done", "response": {"usage": usage}})
    url = stack.url.replace("http", "ws", 1) + "/v1/realtime?model=gpt-realtime"
    headers = {"Authorization": f"Bearer {token}"}
    with connect(url, additional_headers=headers, compression=None, proxy=None) as websocket:
        for _ in range(2):
            websocket.send(message)
            assert websocket.recv(timeout=15) == message
    labels = {"model": "gpt-realtime", "kind": "completion"}
    wait_for(lambda: figure(figures(stack), "tokens_total", **labels) == 36, "the tokens")

    def row():
        rows = json.loads(stack.admin("events", "--json")[1])["events"]
        return [one for one in rows if one["path"] == "/v1/realtime" and one["end"]]

    found = wait_for(row, "the row")[-1]
    assert (found["prompt_tokens"], found["completion_tokens"]) == (24, 36)


def test_tokens_of_responses_are_recorded_and_counted(stack, token):
    """Plain, as a stream and over a WebSocket: the same tokens and the model that answered."""

    def asked(model, **more):
        return json.dumps({"model": f"{model}?chunks=4", "input": "tell me", **more})

    for model, more in (("plain", {}), ("streamed", {"stream": True})):
        answer = call(stack.url, "POST", "/v1/responses", asked(model, **more), token=token)
        assert answer.status == 200 and answer.body.count(b"event: ") in (0, 12)
        used = answer.json["usage"] if model == "plain" else used
    url = stack.url.replace("http", "ws", 1) + "/v1/responses"
    headers = {"Authorization": f"Bearer {token}"}
    with connect(url, additional_headers=headers, compression=None, proxy=None) as websocket:
        for _ in range(2):
            websocket.send(asked("socket", type="response.create"))
            while (event := json.loads(websocket.recv(timeout=15)))["type"] != "response.completed":
                assert event["type"] != "error"
    tokens = (used["input_tokens"], used["output_tokens"])
    assert tokens == (6, 4)

    def row(model):
        rows = json.loads(stack.admin("events", "--json")[1])["events"]
        return [one for one in rows if one["model"] == model and one["end"]]

    for model, times in (("plain", 1), ("streamed", 1), ("socket", 2)):
        found = wait_for(lambda model=model: row(model), f"the row of {model}")[-1]
        assert found["path"] == "/v1/responses" and found["end"] == "done"
        assert (found["prompt_tokens"], found["completion_tokens"]) == (6 * times, 4 * times)
        labels = {"model": model, "kind": "completion"}
        assert figure(figures(stack), "tokens_total", **labels) == 4 * times


def test_sums_never_go_back_when_processes_die():
    with Stack(workers=2) as stack:
        token, _ = stack.signup()
        labels = {"route": "/v1/models", "status": "2xx"}
        seen = 0
        for kill in (stack.kill_worker, stack.stop_worker, stack.kill_worker):
            for _ in range(10):
                assert get(stack, "/v1/models", token=token).status == 200
            wait_for(
                lambda seen=seen: figure(figures(stack), "requests_total", **labels) == seen + 10,
                "all requests",
            )
            seen += 10
            kill(stack.workers[0])
            assert figure(figures(stack), "requests_total", **labels) == seen
            stack.start_worker()
            assert figure(figures(stack), "requests_total", **labels) == seen
            wait_for(
                lambda: figure(figures(stack), "processes", process="worker") == 2, "two workers"
            )


def test_broken_files_of_figures_do_no_harm(pool):
    directory = pathlib.Path(pool.state_directory, "scoreboard")
    before = figures(pool)
    (directory / "empty.board").write_bytes(b"")
    (directory / "short.board").write_bytes(b"\x01\x02\x03")
    (directory / "foreign.board").write_bytes(b"\xff" * 65536)
    after = figures(pool)
    assert figure(after, "commit_rows_count") >= figure(before, "commit_rows_count")
    assert not (directory / "foreign.board").exists()


# Rights


@pytest.mark.parametrize("path", ["/metrics", "/status"])
def test_figures_are_for_the_allowed_alone(stack, token, path):
    # Another address, whatever the client says of itself.
    elsewhere = {"source": "127.0.0.2", "headers": [("X-Forwarded-For", "127.0.0.1")]}
    for credential in (None, token):
        check_error(get(stack, path, token=credential, **elsewhere), 403, "forbidden")
    assert get(stack, "/ready", **elsewhere).status == 200


@pytest.mark.parametrize("path", ["/%6detrics", "/metrics/", "/./metrics", "/x/../status", "/METRICS"])
def test_no_other_way_of_writing_shows_them(stack, token, path):
    for credential in (None, token):
        answer = call(stack.url, "GET", path, token=credential)
        assert answer.status in (400, 401, 404), answer
        assert b"proxy_gpt_" not in answer.body and b"pool:" not in answer.body


def test_a_header_makes_nobody_an_operator(stack, token):
    for header in ("Operator", "HTTP_OPERATOR", "X-Operator"):
        for path in ("/%6detrics", "/metricsx"):
            answer = call(stack.url, "GET", path, token=token, headers=[(header, "yes")])
            assert answer.status in (403, 404), answer


# The pool's status


def test_the_status_page_tells_of_the_pool(stack):
    text = get(stack, "/status")
    assert text.status == 200 and text.header("Content-Type").startswith("text/plain")
    lines = dict(re.split(r":\s+", line, maxsplit=1) for line in text.body.decode().splitlines())
    assert lines["pool"] == "proxy-gpt" and lines["total workers"] == "2"
    assert int(lines["accepted requests"]) > 0
    page = get(stack, "/status?json&full").json
    assert page["total workers"] == 2 and page["streamers"] == 1
    pids = {process.pid for process in stack.workers} | {stack.streamer.pid}
    assert {process["pid"] for process in page["processes"]} == pids
    busy = [one for one in page["processes"] if one["last request route"] == "/status"]
    # The one that answers.
    assert any(one["state"] == "busy" and one["in flight"] == 1 for one in busy), busy
    full = get(stack, "/status?full").body.decode()
    assert full.count("pid:") == 3


# Times


def test_server_timing_tells_callers_where_time_went(stack, token):
    answer = get(stack, "/v1/models", token=token)
    times = dict(re.findall(r"(\w+);dur=(\d+\.\d{3})", answer.header("Server-Timing")))
    assert {"auth", "upstream", "total"} <= set(times), answer.headers
    assert float(times["upstream"]) <= float(times["total"])
    own = get(stack, "/chat/index", token=token).header("Server-Timing")
    assert "db;dur=" in own and "upstream" not in own
    # Strangers learn nothing from them.
    assert get(stack, "/chat/index").header("Server-Timing") is None
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    streamed = call(stack.url, "POST", "/v1/chat/completions", token=token, json=body)
    assert "upstream;dur=" in streamed.header("Server-Timing")


# Logs


def test_slow_requests_are_logged_with_their_stages_and_nothing_secret():
    settings = {"SLOW_LOG": "1", "LOG_FORMAT": "json", "LOG_LEVEL": "debug"}
    with Stack(workers=1, settings=settings) as stack:
        token, _ = stack.signup("person", "password-canary-1")

        # Hashing a password takes more than a millisecond.
        def slow():
            lines = [json.loads(line) for line in stack.worker_log(0).splitlines()]
            return [line for line in lines if line["message"] == "slow request"]

        wait_for(slow, "a line")
        line = slow()[0]
        assert line["http.route"] == "/user/signup" and line["level"] == "warning"
        assert float(line["milliseconds"]) >= 1 and "milliseconds.commit" in line
        assert get(stack, "/chat/index?token=canary-in-query", token=token).status in (200, 400)
        text = stack.worker_log(0)
        for secret in (token, "password-canary-1", "canary-in-query", CANARY_KEY):
            assert secret not in text
        requests = [json.loads(each).get("request.id") for each in text.splitlines()]
        named = [each for each in requests if each]
        assert len(named) == len(set(named))


def test_fields_go_to_the_journal_where_standard_error_is_its(tmp_path):
    """`auto` believes JOURNAL_STREAM only where device and inode are standard error's."""
    settings = {"LOG_FORMAT": "auto", "JOURNAL_STREAM": "1:2"}
    with Stack(workers=1, settings=settings) as stack:
        assert "ready process.id=" in stack.worker_log(0)


# The dashboard and the rules


def names_in(text):
    return {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\bproxy_gpt_[a-z0-9_]+", text)
    }


@pytest.mark.parametrize("file", ["grafana.json", "prometheus-rules.yml"])
def test_dashboard_and_rules_name_figures_that_exist(stack, file):
    text = pathlib.Path(CHECKOUT, "docs", file).read_text()
    if file.endswith(".json"):
        assert json.loads(text)["panels"]
    told = names_in(get(stack, "/metrics").body.decode())
    used = names_in(text)
    assert used and used <= told, used - told


def test_every_figure_is_explained(stack):
    explained = names_in(pathlib.Path(CHECKOUT, "docs/observe.md").read_text())
    told = names_in(get(stack, "/metrics").body.decode())
    # What only PostgreSQL or Redis has stands there as well.
    assert told <= explained, told - explained
