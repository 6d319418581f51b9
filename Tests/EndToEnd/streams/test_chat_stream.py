"""`/chat/stream` through nginx: rights, what arrives, how it is resumed, and how it ends."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import client
import database
import pytest
from client import FORM, JSON, call, check_error, raw_request, raw_socket
from processes import free_port
from sockets import receive, revoked_within_a_second, websocket
from sse import Stream
from stack import Stack, binary, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus

DATABASES = ("sqlite", "postgresql+redis")
# Sixteen threads of one user open streams: those just closed may count a moment longer.
STACK = {"settings": {"MAX_STREAMS_PER_USER": "3000"}}

SLOW = "mock?chunks=40&chunk-delay-ms=60"


def new_chat(stack, token, model="mock", **fields):
    answer = call(stack.url, "POST", "/chat/create", token=token, form={"model": model, **fields})
    assert answer.status == 200, answer
    return answer.json["id"]


def prompt(stack, token, chat, text="tell me about spain", **fields):
    form = {"id": chat, "prompt": text, **fields}
    answer = call(stack.url, "POST", "/chat/prompt", token=token, form=form)
    assert answer.status == 200, answer
    return answer.json["message"]


def start(stack, token, chat, text="tell me about spain", **fields):
    return prompt(stack, token, chat, text, stream="true", **fields)


def is_last(frame):
    return frame.get("partial") is False


@pytest.fixture
def chat(stack, token):
    return new_chat(stack, token, SLOW)


def member(stack, token, chat):
    """Another user of the chat: (token, user)."""
    other, user = stack.signup()
    form = {"chat_id": chat, "user_id": user["id"]}
    assert call(stack.url, "POST", "/chat/user/add", token=token, form=form).status == 200
    return other, user


# What arrives


def test_words_arrive_as_they_come_and_the_last_frame_is_the_stored_message(stack, token, chat):
    with Stream(stack.url, chat, token) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        # What stands before nginx is told, too, to let each event through as it comes.
        assert stream.headers["cache-control"] == "private, no-store, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["x-request-id"]
        stream.begin()
        sent = start(stack, token, chat)
        assert sent["state"] == "streaming"
        (last,) = stream.finished()
        partial = [frame["message"] for frame in stream.frames if frame["partial"]]
        assert len(partial) >= 3, "the words came all at once"
        for message in partial:
            assert set(message) == {"id", "chat_id", "user_id", "prompt", "reply", "state"}
            assert (message["id"], message["chat_id"]) == (sent["id"], chat)
            assert (message["prompt"], message["state"]) == ("tell me about spain", "streaming")
        assert stream.words(sent["id"]) == last["reply"]
        read = call(stack.url, "GET", f"/chat/read?id={chat}", token=token).json
        assert last == read["messages"][-1]
        assert last["state"] == "done"
        assert len(set(stream.ids)) == len(stream.ids) and all(stream.ids)


def test_a_websocket_has_the_same_frames_with_their_ids(stack, token, chat):
    with websocket(stack, chat, token) as socket, Stream(stack.url, chat, token) as stream:
        stream.begin()
        sent = start(stack, token, chat)
        frames = receive(socket, is_last)
        (last,) = stream.finished()
        assert [frame.pop("event_id") for frame in frames] == stream.ids
        assert frames == stream.frames
        assert last["id"] == sent["id"]


def test_what_begins_once_the_answer_is_there_is_heard(stack, token, chat):
    def hear(_):
        with Stream(stack.url, chat, token) as stream:
            # No id has come yet: the past is still being read.
            assert stream.status == 200
            sent = prompt(stack, token, chat, otr="true")
            stream.read(lambda stream: sent["id"] in {last["id"] for last in stream.ends})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(hear, range(160)))


def test_the_examples_of_the_specification_work(stack, token, chat):
    forms = [
        ("POST", f"id={chat}", FORM),
        ("POST", json.dumps({"id": chat}), JSON),
        ("POST", json.dumps({"chat_id": chat}), FORM),
        ("GET", None, None),
    ]
    for method, body, kind in forms:
        headers = [("Content-Type", kind)] if kind else []
        query = {} if body else {"chat_id": chat}
        text = body.encode() if body else b""
        with Stream(
            stack.url, None, token, method, headers, text, **query
        ) as stream:
            assert stream.status == 200
            stream.begin()


def test_messages_that_are_not_streamed_arrive_whole(stack, token):
    chat = new_chat(stack, token)
    with Stream(stack.url, chat, token).begin() as stream:
        plain = prompt(stack, token, chat)
        silent = prompt(stack, token, chat, "between us", otr="true")
        ends = {end["id"]: end for end in stream.finished(2)}
        assert ends.keys() == {plain["id"], silent["id"]} and ends[plain["id"]]["reply"]
        end = ends[silent["id"]]
        assert end["otr"] is True and end["prompt"] == "between us"
        assert [frame for frame in stream.frames if frame["partial"]] == []


def test_a_failure_is_a_last_frame_too(stack, token):
    chat = new_chat(stack, token, "mock?status=500")
    with Stream(stack.url, chat, token).begin() as stream:
        start(stack, token, chat)
        (last,) = stream.finished()
        assert last["state"] == "failed"
        assert last["error"]["code"] == "upstream_error"


def test_a_long_prompt_stands_in_the_first_partial_frame_and_the_last(stack, token, chat):
    text = "x" * 1100
    with Stream(stack.url, chat, token).begin() as stream:
        start(stack, token, chat, text)
        stream.finished()
        prompts = [frame["message"].get("prompt") for frame in stream.frames]
        assert prompts[0] == text and prompts[-1] == text
        assert len(prompts) > 3 and set(prompts[1:-1]) == {None}


def test_a_new_subscriber_gets_running_replies_from_their_beginning(stack, token):
    chat = new_chat(stack, token, "mock?chunks=60&chunk-delay-ms=60")
    with Stream(stack.url, chat, token).begin() as early:
        sent = start(stack, token, chat)
        early.read(lambda stream: len(stream.words(sent["id"])) > 10)
        with Stream(stack.url, chat, token) as late, websocket(stack, chat, token) as socket:
            (last,) = late.finished()
            frames = receive(socket, is_last)
            (first,) = early.finished()
            assert late.words(sent["id"]) == last["reply"] == first["reply"]
            joined = "".join(f["message"]["reply"] for f in frames if f["partial"])
            assert joined == last["reply"]


# Resuming


def split(stack, token, chat, resume):
    """A stream that is cut after some words and resumed; both, and the message."""
    first = Stream(stack.url, chat, token).begin()
    sent = start(stack, token, chat)
    first.read(lambda stream: len(stream.events) >= 3)
    first.close()
    return first, resume(first.last_id), sent["id"]


def test_a_client_that_comes_back_gets_the_rest_and_nothing_twice(stack, token, chat):
    ways = [
        lambda last: Stream(stack.url, chat, token, headers=[("Last-Event-ID", last)]),
        lambda last: Stream(stack.url, chat, token, last_event_id=last),
    ]
    for way in ways:
        first, second, message = split(stack, token, chat, way)
        with second:
            (last,) = second.finished()
            assert first.words(message) + second.words(message) == last["reply"]
            assert not set(first.ids) & set(second.ids)
            assert [event for event, _, _ in second.events if event != "message"] == []


def test_a_websocket_resumes_by_the_same_parameter(stack, token, chat):
    first = Stream(stack.url, chat, token).begin()
    sent = start(stack, token, chat)
    first.read(lambda stream: len(stream.events) >= 3)
    first.close()
    with websocket(stack, chat, token, last_event_id=first.last_id) as socket:
        frames = receive(socket, is_last)
        words = "".join(f["message"]["reply"] for f in frames if f["partial"])
        assert first.words(sent["id"]) + words == frames[-1]["message"]["reply"]


def test_a_returning_subscriber_gets_what_ended_meanwhile(stack, token):
    chat = new_chat(stack, token)
    with Stream(stack.url, chat, token).begin() as stream:
        at = stream.last_id
    sent = [prompt(stack, token, chat, f"number {number}")["id"] for number in range(3)]
    with Stream(stack.url, chat, token, last_event_id=at) as stream:
        # Different workers tell the bus of messages, whose ends may change places by milliseconds.
        assert sorted(end["id"] for end in stream.finished(3)) == sorted(sent)
        numbers = [int(id.split("-")[1]) for id in stream.ids]
        assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("place", ["0123456789abcdef-5", "nonsense", "reset-0", "{epoch}-999999"])
def test_a_place_that_is_not_there_is_a_reset_with_the_messages_as_they_stand(stack, token, place):
    chat = new_chat(stack, token)
    with Stream(stack.url, chat, token) as stream:
        epoch = stream.begin().last_id.split("-")[0]
        messages = [prompt(stack, token, chat, f"number {n}")["id"] for n in range(3)]
        # Their last frames are in the log by then.
        stream.finished(3)
    place = place.replace("{epoch}", epoch)
    with Stream(stack.url, chat, token, last_event_id=place) as stream:
        ends = stream.finished(3)
        assert stream.events[0][0] == "reset" and stream.events[0][2] == {"reset": True}
        assert [end["id"] for end in ends] == messages
        # From its last frame on it can be resumed as usual.
        at = stream.last_id
    with websocket(stack, chat, token, last_event_id=place) as socket:
        assert json.loads(socket.recv(timeout=15)) == {"reset": True}
        assert receive(socket, is_last)[-1]["message"]["id"] == messages[0]
    with Stream(stack.url, chat, token, last_event_id=at) as stream:
        later = prompt(stack, token, chat, "later")["id"]
        assert [end["id"] for end in stream.finished()] == [later]
        assert [event for event, _, _ in stream.events] == ["message"]


def test_a_streamer_that_is_killed_loses_nobody_anything(stack, token, chat):
    """Deltas go on while there is no streamer; returning subscribers get every one, in order."""
    first = Stream(stack.url, chat, token).begin()
    sent = start(stack, token, chat)
    first.read(lambda stream: len(stream.events) >= 3)
    stack.kill_streamer()
    first.end()
    # It comes back at once, as a browser does, and waits in the socket for the next streamer.
    last_id = first.last_id
    with contextlib.ExitStack() as opened:
        found = []
        back = threading.Thread(
            target=lambda: found.append(Stream(stack.url, chat, token, last_event_id=last_id))
        )
        back.start()
        stack.start_streamer()
        back.join(15)
        second = opened.enter_context(found[0])
        (last,) = second.finished()
        assert first.words(sent["id"]) + second.words(sent["id"]) == last["reply"]
        assert not set(first.ids) & set(second.ids)


def test_the_reply_of_a_killed_worker_ends_as_failed(token):
    with Stack(workers=1) as stack:
        owner, _ = stack.signup()
        chat = new_chat(stack, owner, "mock?chunks=200&chunk-delay-ms=200")
        with Stream(stack.url, chat, owner).begin() as stream:
            sent = start(stack, owner, chat)
            stream.read(lambda stream: stream.words(sent["id"]))
            stack.kill_worker(stack.workers[0])
            stream.read(lambda stream: stream.ends, cap=20)
            (last,) = stream.ends
            assert last["state"] == "failed" and last["id"] == sent["id"]


# Rights


def test_without_a_right_to_it_there_is_no_stream(stack, token, chat):
    path = f"/chat/stream?id={chat}"
    stranger, _ = stack.signup()
    upgrade = client_upgrade()
    for headers in ([], upgrade):
        answer = call(stack.url, "GET", path, headers=headers)
        check_error(answer, 401, "unauthorized")
        assert answer.header("WWW-Authenticate") == "Bearer"
        answer = call(stack.url, "GET", path + "&token=pgpt_wrong", headers=headers)
        check_error(answer, 401, "unauthorized")
        check_error(call(stack.url, "GET", path, token=stranger, headers=headers), 404, "not_found")
        answer = call(stack.url, "GET", "/chat/stream", token=token, headers=headers)
        check_error(answer, 400, "invalid_request", "id")
        answer = call(stack.url, "GET", "/chat/stream?id=x", token=token, headers=headers)
        check_error(answer, 404, "not_found")
    for method in ("PUT", "DELETE", "PATCH"):
        answer = call(stack.url, method, path, token=token)
        check_error(answer, 405, "method_not_allowed")
        assert answer.header("Allow") == "GET, HEAD, POST"
    answer = call(stack.url, "POST", "/chat/stream", token=token, form={"id": "x" * 17_000})
    check_error(answer, 413, "too_large")


def client_upgrade(**changed):
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **changed,
    }
    return [(name, value) for name, value in headers.items() if value is not None]


def test_credentials_count_in_their_order(stack, token, chat):
    """Bearer, then Basic, then the parameter, then the cookie; a wrong one is not made up for."""
    good = [
        ([("Cookie", f"sess={token}")], None),
        ([("Authorization", client.basic("shared", token))], None),
        ([], token),
        ([("Cookie", "sess=wrong")], token),
        ([("Authorization", f"Bearer {token}")], "wrong"),
    ]
    for headers, parameter in good:
        with Stream(stack.url, chat, headers=headers, parameter=parameter) as stream:
            assert stream.status == 200
            stream.begin()
    for headers, parameter in [
        ([("Cookie", f"sess={token}")], "wrong"),
        ([("Authorization", "Bearer wrong")], token),
    ]:
        query = {"token": parameter, "id": chat}
        path = "/chat/stream?" + urllib.parse.urlencode(query)
        check_error(call(stack.url, "GET", path, headers=headers), 401)


def test_members_watch_as_the_owner_does(stack, token, chat):
    other, _ = member(stack, token, chat)
    with Stream(stack.url, chat, other).begin() as stream:
        sent = start(stack, token, chat)
        assert stream.finished()[0]["id"] == sent["id"]


def test_head_is_the_head_alone(stack, token, chat):
    answer = call(stack.url, "HEAD", f"/chat/stream?id={chat}", token=token)
    assert answer.status == 200 and answer.body == b""
    assert answer.header("Content-Type") == "text/event-stream"
    assert call(stack.url, "HEAD", "/chat/stream?id=x", token=token).status == 404


def test_a_page_of_another_origin_opens_no_websocket(stack, token, chat):
    with websocket(stack, chat, token, origin=stack.url):
        pass
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            websocket(stack, chat, token, origin=origin)
        assert refused.value.response.status_code == 403
        cookie = {"Cookie": f"sess={token}"}
        with pytest.raises(InvalidStatus) as refused:
            websocket(stack, chat, origin=origin, headers=cookie)
        assert refused.value.response.status_code == 403
    foreign = [("Cookie", f"sess={token}"), ("Origin", "https://evil.example")]
    answer = call(stack.url, "POST", "/chat/stream", form={"id": chat}, headers=foreign)
    check_error(answer, 403, "forbidden")


def test_a_handshake_that_is_none_is_refused(stack, token, chat):
    for method, changed, status, code in (
        ("GET", {"Sec-WebSocket-Version": "8"}, 426, "upgrade_required"),
        ("GET", {"Sec-WebSocket-Key": "short"}, 400, "invalid_request"),
        ("POST", {}, 426, "upgrade_required"),
    ):
        answer = call(
            stack.url, method, f"/chat/stream?id={chat}", token=token,
            headers=client_upgrade(**changed),
        )
        check_error(answer, status, code)
        assert answer.header("Sec-WebSocket-Version") == "13"


# Rights that end


@pytest.mark.alone
def test_a_user_removed_from_a_chat_receives_nothing_more(stack, token, chat):
    other, user = member(stack, token, chat)
    with Stream(stack.url, chat, other).begin() as stream, websocket(stack, chat, other) as socket:
        with Stream(stack.url, chat, token).begin() as owner:
            form = {"chat_id": chat, "user_id": user["id"]}

            def change():
                assert call(
                    stack.url, "POST", "/chat/user/remove", token=token, form=form
                ).status == 200

            revoked_within_a_second([stream], [socket], change)
            before = len(stream.events)
            start(stack, token, chat)
            owner.finished()
            assert len(stream.events) == before
        check_error(call(stack.url, "GET", f"/chat/stream?id={chat}", token=other), 404)


@pytest.mark.alone
def test_a_logout_ends_the_streams_of_its_session_alone(stack):
    first, user = stack.signup()
    form = {"username": user["username"], "password": "password-1"}
    second = call(stack.url, "POST", "/user/login", form=form).json["token"]
    chat = new_chat(stack, first)
    with Stream(stack.url, chat, first).begin() as stream, websocket(stack, chat, first) as socket:
        with Stream(stack.url, chat, second).begin() as other:
            revoked_within_a_second(
                [stream], [socket], lambda: call(stack.url, "POST", "/user/logout", token=first)
            )
            prompt(stack, second, chat)
            other.finished()


@pytest.mark.alone
def test_a_new_password_ends_the_streams_of_other_sessions(stack):
    first, user = stack.signup()
    form = {"username": user["username"], "password": "password-1"}
    second = call(stack.url, "POST", "/user/login", form=form).json["token"]
    chat = new_chat(stack, first)
    passwords = {"old_password": "password-1", "new_password": "password-2"}
    with Stream(stack.url, chat, first).begin() as stream:
        revoked_within_a_second(
            [stream],
            [],
            lambda: call(
                stack.url, "POST", "/user/password/update", token=second, form=passwords
            ),
        )


@pytest.mark.alone
def test_a_deleted_chat_ends_its_streams(stack, token, chat):
    with Stream(stack.url, chat, token).begin() as stream, websocket(stack, chat, token) as socket:
        revoked_within_a_second(
            [stream],
            [socket],
            lambda: call(stack.url, "POST", "/chat/delete", token=token, form={"id": chat}),
        )


@pytest.mark.alone
def test_a_user_who_leaves_a_group_loses_its_chats(stack, token):
    group = call(stack.url, "POST", "/group/create", token=token, form={"name": "g"}).json["id"]
    other, user = stack.signup()
    form = {"group_id": group, "user_ids": user["id"]}
    assert call(stack.url, "POST", "/group/members/add", token=token, form=form).status == 200
    chat = new_chat(stack, token, group_id=group)
    with Stream(stack.url, chat, other).begin() as stream, websocket(stack, chat, other) as socket:
        revoked_within_a_second(
            [stream],
            [socket],
            lambda: call(stack.url, "POST", "/group/members/remove", token=token, form=form),
        )


# Limits and ends


def test_too_many_streams_are_sent_away_so_that_they_come_back():
    with Stack(workers=1, settings={"MAX_STREAMS_PER_USER": 2}) as stack, contextlib.ExitStack() as held:
        token, _ = stack.signup()
        chat = new_chat(stack, token)
        streams = [held.enter_context(Stream(stack.url, chat, token).begin()) for _ in range(2)]
        with Stream(stack.url, chat, token) as shed:
            assert shed.status == 200
            shed.end()
            assert shed.retries and 10_000 <= shed.retries[-1] <= 30_000
        with websocket(stack, chat, token) as socket, pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=15)
        assert closed.value.rcvd.code == 1013
        streams[0].close()

        def has_room():
            stream = held.enter_context(Stream(stack.url, chat, token))
            stream.read(lambda stream: stream.last_id or stream.ended)
            return stream.last_id

        wait_for(has_room, "the place that was left")


def test_a_stop_sends_everybody_away_in_good_order(token):
    with Stack(workers=1) as stack:
        owner, _ = stack.signup()
        chat = new_chat(stack, owner)
        with Stream(stack.url, chat, owner).begin() as stream:
            with websocket(stack, chat, owner) as socket:
                process = stack.streamer
                process.send_signal(signal.SIGTERM)
                stream.end()
                assert 500 <= stream.retries[-1] <= 5000
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(timeout=15)
                assert closed.value.rcvd.code == 1012
            assert process.wait(15) == 0


def test_subscribers_that_come_back_all_at_once_wait_for_the_streamer(stack, token, chat):
    """A thousand of them, while it does not run: none gets an answer that it would not come back from."""
    count, connections = 1000, []
    request = raw_request("GET", f"/chat/stream?id={chat}", token)
    try:
        stack.streamer.send_signal(signal.SIGSTOP)
        wait_for(lambda: has_stopped(stack.streamer.pid), "all of its threads to stand still")
        for _ in range(count):
            connections.append(raw_socket(stack.url, timeout=60))
            connections[-1].sendall(request)
        limit = int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text())
        wanted = min(count, limit)
        wait_for(lambda: waiting_at(stack.streamer_socket) >= wanted, f"{wanted} to wait")
        stack.streamer.send_signal(signal.SIGCONT)
        retries = set()
        for connection in connections:
            head = b""
            while not (found := re.search(rb"\r\n\r\n.*retry: (\d+)\n", head, re.DOTALL)):
                piece = connection.recv(4096)
                head += piece
                assert piece and head.startswith(b"HTTP/1.1 200"), head
            retries.add(int(found[1]))
        # When they lose it again, they do not come back at the same moment.
        assert len(retries) > 100
    finally:
        stack.streamer.send_signal(signal.SIGCONT)
        for connection in connections:
            connection.close()


def has_stopped(pid):
    """Whether no thread of a process runs on after SIGSTOP: one may still accept a connection."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/stat")
    return all(task.read_text().rsplit(")", 1)[1].split()[0] == "T" for task in tasks)


def waiting_at(path):
    """How many connections wait in a listening socket."""
    lines = subprocess.run(["ss", "-xlH"], capture_output=True, text=True, check=True).stdout
    for line in lines.splitlines():
        fields = line.split()
        if path in fields:
            assert int(fields[3]) >= min(
                4096, int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text()))
            return int(fields[2])
    return 0


def test_a_second_streamer_on_a_state_directory_is_refused(stack):
    """By a sentence that names the directory and the process; the first goes on as before."""
    pid, begun = stack.streamer.pid, time.monotonic()
    place = f"the state directory {stack.state_directory} is in use by"
    first = [f"proxy-gpt-worker, process {worker.pid};" for worker in stack.workers]
    first.append(f"proxy-gpt-streamer, process {pid};")
    environment = {"STATE_DIRECTORY": stack.state_directory, "API_KEY": "sk-1", "PORT": str(free_port()),
                   "PATH": os.environ["PATH"], "BIN_DIRECTORY": os.environ["BIN_DIRECTORY"]}  # fmt: skip
    script = pathlib.Path(__file__).parents[1] / "harness" / "stack.py"
    for command, holders in (
        ([binary("proxy-gpt-streamer")], [f"the streamer of process {pid}"]),
        ([sys.executable, script, "run"], first),
    ):
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1, second
        assert any(f"{place} {holder}" in second.stderr for holder in holders), second
    print(f"both refused after {time.monotonic() - begun:.2f} s")
    assert stack.streamer.poll() is None and os.path.exists(stack.bell_socket)


def test_a_wakeup_socket_whose_name_is_gone_is_made_again(stack, token, chat, database_kind):
    if database_kind != "sqlite":
        # Redis has its own way to wake the streamer.
        return
    os.unlink(stack.bell_socket)
    wait_for(lambda: os.path.exists(stack.bell_socket), "the name to be there again")
    with Stream(stack.url, chat, token).begin() as stream:
        sent = start(stack, token, chat)
        assert stream.finished()[0]["id"] == sent["id"]
    # Its own name goes with it.
    stack.stop_streamer()
    assert not os.path.exists(stack.bell_socket)
    stack.start_streamer()
    wait_for(lambda: os.path.exists(stack.bell_socket), "the name to be there again")


def test_a_streamer_that_is_not_there_is_an_error_in_our_shape(token):
    with Stack(workers=1) as stack:
        owner, _ = stack.signup()
        stack.stop_streamer()
        stack.close_sockets()
        answer = call(stack.url, "GET", "/chat/stream?id=x", token=owner)
        check_error(answer, 502, "upstream_error")


def test_every_stream_is_an_event_and_no_token_is_in_any_log():
    with Stack(workers=1) as stack:
        token, user = stack.signup()
        chat = new_chat(stack, token)
        held = Stream(stack.url, chat, token).begin()
        with held:
            stack.kill_streamer()
            held.end()
        stack.start_streamer()
        ids = {"X-Request-Id": "stream-1"}
        with Stream(stack.url, chat, headers=ids.items(), parameter=token) as stream:
            stream.begin()
            prompt(stack, token, chat)
            stream.finished()
        with websocket(stack, chat, token, headers={"X-Request-Id": "stream-2"}) as socket:
            socket.ping().wait(15)
        guess = {"X-Request-Id": "stream-3"}
        call(stack.url, "GET", "/chat/stream?token=pgpt_secret-guess", headers=guess)

        def has_left():
            figures = call(stack.url, "GET", "/metrics").body.decode()
            return 'proxy_gpt_subscribers{transport="sse"} 0\n' in figures

        # A client's leaving that is not noticed before the streamer's stop is a stop.
        wait_for(has_left, "the first stream's end")
        database.stop_workers(stack)
        assert stack.stop_streamer() == 0
        rows = database.events(stack)
        for name, status, end in (("stream-1", 200, "client_gone"), ("stream-2", 101, "done")):
            row = rows[name]
            assert (row["type"], row["status"], row["end"]) == ("stream", status, end)
            assert (row["user_id"], row["chat_id"]) == (user["id"], chat)
            assert row["path"] == "/chat/stream" and row["duration_us"] > 0
        assert rows["stream-1"]["bytes_out"] > 500
        assert (rows["stream-3"]["type"], rows["stream-3"]["status"]) == ("request", 401)
        for path, text in stack.logs().items():
            assert token not in text and "secret-guess" not in text, path
