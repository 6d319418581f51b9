"""What was answered is recorded: workers that are killed, that stop in peace, and a full disk."""

import concurrent.futures
import ctypes
import os
import resource
import select
import subprocess

import client
import database
import pytest
import upstream
from client import JSON, Load, call, chat, check_error, raw_request, raw_socket
from person import Person
from stack import Stack, binary, wait_for


def open_stream(stack, token, name, model="mock?endless&chunk-delay-ms=60000"):
    """A stream whose first words have arrived and which goes on for ever."""
    connection = raw_socket(stack.url)
    headers = [("X-Request-Id", name), ("Connection", "close")]
    body = chat(model, stream=True)
    connection.sendall(raw_request("POST", "/v1/chat/completions", token, body, headers))
    seen = b""
    while seen.count(b"data: ") < 2:
        piece = connection.recv(65536)
        assert piece, seen
        seen += piece
    return connection


def open_streams_everywhere(stack, token):
    """Streams by name, as many as it takes until each worker serves one."""
    streams = {}
    while not all(
        client.upstream_connections(process, stack.mock_url) for process in stack.workers
    ):
        assert len(streams) < 60, "one worker gets all the work"
        name = f"stream-{len(streams)}"
        streams[name] = open_stream(stack, token, name)
    return streams


def has_ended(connection):
    """Whether there is anything to read: the stream itself is silent for a minute."""
    return bool(select.select([connection], [], [], 0)[0])


@pytest.fixture(scope="module")
def killed():
    """Two workers under load, one of which is killed; then what clients saw and what was stored."""

    class Killed:
        pass

    told = Killed()
    with Stack() as stack:
        token, _ = stack.signup()
        streams = open_streams_everywhere(stack, token)
        with Load(stack.url, token, threads=8, numbered=True) as load:
            wait_for(lambda: load.count > 500, "some load")
            stack.kill_worker(stack.workers[0])
            at_kill = load.count
            wait_for(lambda: load.count > at_kill + 1000, "load after the kill", 60)
        told.load = load


        def ended():
            """Of the streams: both processes of nginx have noticed, and nothing else has ended."""
            names = {name for name in streams if has_ended(streams[name])}
            left = stack.mock("/mock/stats")["in_flight"]
            return names and len(streams) - len(names) == left and names

        told.victims = wait_for(ended, "the streams of the killed to end")
        told.survivors = set(streams) - told.victims
        told.seen = [client.read_to_end(streams[name]) for name in told.victims]
        for connection in streams.values():
            connection.close()
        told.in_flight = stack.mock("/mock/wait?in-flight=0")["in_flight"]
        database.stop_workers(stack)
        told.rows = database.events(stack)
        told.check = database.rows(stack, "PRAGMA integrity_check")
        # Fifteen seconds pass by moving the last heartbeat back, by both clocks.
        told.leases = database.change(
            stack,
            "UPDATE processes SET heartbeat = heartbeat - 20000, uptime = uptime - 20000",
        )
        stack.start_worker()
        told.is_served = call(stack.url, "GET", "/v1/models", token=token).status
        database.stop_workers(stack)
        told.rows_later = database.events(stack)
        yield told


def test_no_row_of_an_answered_request_is_missing_after_a_kill(killed):
    assert len(killed.load.answered) > 1500
    missing = [name for name in killed.load.answered if name not in killed.rows]
    assert not missing
    ends = {killed.rows[name]["end"] for name in killed.load.answered}
    assert ends == {"done"}
    assert killed.check == [{"integrity_check": "ok"}]


def test_a_kill_is_noticed_on_the_killed_workers_connections_alone(killed):
    """Each of eight clients may have had one request there, and met one more dead connection."""
    assert len(killed.load.failures) <= 16, killed.load.failures
    for _, _, status in killed.load.failures:
        assert status == 502 or isinstance(status, str)


def test_the_upstream_calls_of_a_killed_worker_end(killed):
    assert killed.in_flight == 0


def test_a_killed_workers_stream_does_not_end_with_openais_own_end(killed):
    assert killed.seen and not any(b"[DONE]" in data for data in killed.seen)


def test_rows_that_a_killed_worker_left_open_are_closed_when_its_lease_is_over(killed):
    assert killed.victims and killed.survivors
    assert {killed.rows[name]["end"] for name in killed.victims} == {None}
    assert {killed.rows[name]["end"] for name in killed.survivors} == {"client_gone"}
    assert killed.leases == 1
    assert killed.is_served == 200
    assert {killed.rows_later[name]["end"] for name in killed.victims} == {"error"}
    assert not [row for row in killed.rows_later.values() if row["end"] is None]
    # What was closed before stays as it was.
    for name in killed.survivors:
        assert killed.rows_later[name] == killed.rows[name]


def test_a_lease_that_still_runs_protects_its_rows():
    """The rows of a process that only stands still are not closed by one that starts."""
    with Stack(workers=1) as stack:
        token, _ = stack.signup()
        stream = open_stream(stack, token, "paused")
        [paused] = stack.workers
        with client.without(stack, paused):
            newcomer = stack.start_worker()
            assert stack.stop_worker(newcomer) == 0
        stream.close()
        stack.mock("/mock/wait?in-flight=0")
        database.stop_workers(stack)
        assert database.events(stack)["paused"]["end"] == "client_gone"


def test_a_graceful_stop_finishes_the_calls_in_flight():
    with Stack(workers=1) as stack:
        token, _ = stack.signup()
        body = chat("mock?chunks=5&chunk-delay-ms=300", stream=True)
        connection = raw_socket(stack.url)
        headers = [("X-Request-Id", "drained"), ("Connection", "close")]
        connection.sendall(raw_request("POST", "/v1/chat/completions", token, body, headers))
        seen = b""
        while seen.count(b"data: ") < 2:
            seen += connection.recv(65536)
        assert stack.restart_worker(0) == 0
        seen += client.read_to_end(connection)
        assert b"data: [DONE]" in seen and seen.endswith(b"0\r\n\r\n")
        database.stop_workers(stack)
        row = database.events(stack)["drained"]
        assert (row["status"], row["end"]) == (200, "done")


def test_a_drain_has_a_limit_and_a_second_signal_ends_it():
    with Stack(workers=2, settings={"DRAIN_TIMEOUT": "0.5"}) as stack:
        token, _ = stack.signup()
        streams = open_streams_everywhere(stack, token)
        for process in list(stack.workers):
            assert stack.stop_worker(process) == 0
        for connection in streams.values():
            data = client.read_to_end(connection)
            assert b"[DONE]" not in data and not data.endswith(b"0\r\n\r\n")
        rows = database.events(stack)
        # Not `client_gone`: the client was there.
        assert {rows[name]["end"] for name in streams} <= {"stopped", "error"}
    with Stack(workers=1) as stack:
        token, _ = stack.signup()
        with open_stream(stack, token, "endless"):
            [process] = stack.workers
            process.terminate()
            wait_for(lambda: "draining" in stack.worker_log(process), "the drain to begin")
            process.terminate()
            assert process.wait(10) != 0


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a file system of a few MiB. Mounting one needs root."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    libc = ctypes.CDLL(None, use_errno=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", tmp_path],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here: " + mounted.stderr.strip())
    yield tmp_path
    # Lazily: a worker that does not end must not make the test fail twice.
    libc.umount2(os.fsencode(tmp_path), 2)


def fill(directory):
    """Takes all the space that is left."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as filler:
        try:
            while filler.write(b"\xff" * 4096):
                pass
        except OSError:
            return path


def test_on_a_full_disk_nothing_is_promised_and_no_call_goes_upstream(small_disk):
    with Stack(workers=1, state_directory=small_disk) as stack:
        promises_nothing_while_full(stack, lambda: fill(small_disk).unlink)


def test_a_limit_of_file_sizes_is_a_full_disk_and_ends_no_process():
    with Stack(workers=1, database="sqlite") as stack:

        def limit(size):
            for process in (*stack.workers, stack.streamer):
                hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))

        def reach_the_limit():
            limit(os.path.getsize(stack.database + "-wal"))
            return lambda: limit(resource.RLIM_INFINITY)

        streamer, (worker,) = stack.streamer, stack.workers
        promises_nothing_while_full(stack, reach_the_limit)
        assert worker.poll() == 0 and streamer.poll() == 0
        # An operator's command says what is wrong, too.
        command = ["prlimit", "--fsize=4096", binary("proxy-gpt-admin"), "create", "late", "password-1"]
        done = subprocess.run(
            command, env={"STATE_DIRECTORY": stack.state_directory}, capture_output=True, timeout=60
        )
        assert done.returncode == 1 and done.stderr, done


def promises_nothing_while_full(stack, fill):
    """`fill` leaves no room, and returns what makes some again."""
    token, _ = stack.signup()

    def post():
        headers = {"Content-Type": JSON}
        return call(stack.url, "POST", "/v1/chat/completions", chat(), headers, token)

    make_room = fill()
    # Space that the database already has may take a few more rows.
    full = wait_for(
        lambda: (answer := call(stack.url, "GET", "/user/session", token=token)).status != 200
        and answer,
        "the disk to be full",
    )
    check_error(full, 503, "unavailable")
    assert full.header("Retry-After")
    stack.mock_delete("/mock/calls")
    for _ in range(3):
        refused = post()
        check_error(refused, 503, "unavailable")
        assert refused.header("Retry-After")
    assert stack.mock("/mock/calls") == []
    # It goes on by itself as soon as there is room again.
    make_room()
    wait_for(lambda: post().status == 200, "the recovery")
    database.stop_workers(stack)
    answered = database.rows(stack, "SELECT * FROM events WHERE type = 'forward'")
    assert [row for row in answered if (row["status"], row["end"]) == (200, "done")]
    assert not [row for row in answered if row["end"] is None]
    assert database.rows(stack, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]


def test_on_a_full_disk_users_are_told_to_come_back(small_disk):
    with Stack(workers=1, state_directory=small_disk) as stack:
        token, _ = stack.signup("early")
        fill(small_disk)
        path = "/user/session"
        wait_for(lambda: call(stack.url, "GET", path, token=token).status == 503, "it to be full")
        form = {"username": "latecomer", "password": "password-1"}
        check_error(call(stack.url, "POST", "/user/signup", form=form), 503, "unavailable")
        form["username"] = "early"
        check_error(call(stack.url, "POST", "/user/login", form=form), 503, "unavailable")
        form = {"first_name": "x" * 200}
        answer = call(stack.url, "POST", "/user/update", token=token, form=form)
        check_error(answer, 503, "unavailable")


def test_a_reply_that_ends_on_a_full_disk_is_stored_when_there_is_room(small_disk):
    def speak_long(asked):
        asked.begin()
        asked.wait()
        asked.say("x" * 200_000)
        asked.end()

    with upstream.Upstream(long=speak_long) as model:
        settings = {"API_URL": model.url}
        with Stack(
            workers=1, mock=False, streamer=False, settings=settings, state_directory=small_disk
        ) as stack:
            owner = Person(stack)
            chat = owner.chat()
            streamed = owner.prompt(chat, "long and streamed", stream=True)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                plain = pool.submit(owner.post, "/chat/prompt", id=chat, prompt="long and plain")
                asked = [model.arrived(f"long and {kind}") for kind in ("streamed", "plain")]
                filler = fill(small_disk)
                wait_for(lambda: owner.post("/user/session").status == 503, "it to be full")
                check_error(owner.post("/chat/create"), 503, "unavailable")
                check_error(owner.post("/chat/prompt", id=chat, prompt="more"), 503, "unavailable")
                check_error(owner.post("/chat/delete", id=chat), 503, "unavailable")
                assert model.of("more") == []
                for each in asked:
                    each.go_on.set()
                check_error(plain.result(30), 503, "unavailable")
            filler.unlink()

            def stored():
                answer = owner.post("/chat/read", id=chat)
                found = answer.json["messages"] if answer.status == 200 else []
                return found if [one["state"] for one in found] == ["done", "done"] else None

            first, second = wait_for(stored, "the replies to be stored")
            assert first["id"] == streamed["id"] and second["prompt"] == "long and plain"
            assert first["reply"] == second["reply"] == "x" * 200_000
            database.stop_workers(stack)
            assert database.rows(stack, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
