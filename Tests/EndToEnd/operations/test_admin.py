"""The operator's commands, on the database of a service that runs."""

import csv
import io
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile

import pytest
from admin import PASSWORD, check_clean, ok, post, refused, text
from client import call, chat, check_error
from database import rows_of_copy
from stack import CANARY_KEY, Stack, binary, wait_for

DATABASES = ("sqlite", "postgresql")


def log_in(stack, username, password):
    form = {"username": username, "password": password}
    return call(stack.url, "POST", "/user/login", form=form)


def session(stack, token):
    return call(stack.url, "GET", "/user/session", token=token).status


def newest_event(stack, path):
    """The last event that tells of a command."""
    events = ok(stack, "events", "--type", "admin", "--path", path)["events"]
    return events[-1]


# Users


def test_the_commands_of_the_specification(stack):
    token, user = stack.signup("foobar", PASSWORD)
    listed = text(stack, "list")
    assert user["id"] in listed and "foobar" in listed
    assert "foobar" in text(stack, "user", user["id"])
    text(stack, "reset", "foobar", "Password1")
    assert session(stack, token) == 401
    assert log_in(stack, "foobar", PASSWORD).status == 401
    assert log_in(stack, "foobar", "Password1").status == 200


def test_users_are_shown_by_id_and_by_name(stack):
    _, user = stack.signup("Shown", PASSWORD)
    by_id, by_name = ok(stack, "user", user["id"]), ok(stack, "user", "SHOWN")
    assert by_id == by_name
    assert by_id["sessions"] == 1 and by_id["role"] == "user" and by_id["disabled_at"] is None
    assert user["id"] in [entry["id"] for entry in ok(stack, "list")["users"]]
    assert newest_event(stack, "user")["user_id"] == user["id"]
    assert "there is no user nobody" in refused(stack, "user", "nobody")


def test_a_reset_ends_all_sessions_of_all_workers_at_once(stack):
    tokens = [stack.signup("reset-me", PASSWORD)[0]]
    tokens += [log_in(stack, "reset-me", PASSWORD).json["token"] for _ in range(3)]
    other, _ = stack.signup()
    assert [session(stack, token) for token in tokens] == [200] * 4
    assert ok(stack, "reset", "reset-me", input="password-2\n")["sessions_ended"] == 4
    # Each worker is asked several times over, from now on.
    assert {session(stack, token) for token in tokens * 4} == {401}
    assert session(stack, other) == 200
    assert log_in(stack, "reset-me", "password-2").status == 200
    ok(stack, "reset", "reset-me", "-", input="password-3\n")
    assert log_in(stack, "reset-me", "password-3").status == 200
    assert "password" not in newest_event(stack, "reset")["detail"]


def test_the_rules_of_passwords_bind_the_operator_too(stack):
    stack.signup("ruled", PASSWORD)
    assert "at least 8 bytes" in refused(stack, "reset", "ruled", "short")
    assert "at most 1024 bytes" in refused(stack, "reset", "ruled", input="x" * 1025 + "\n")
    assert "empty" in refused(stack, "reset", "ruled", input="\n")
    assert "no password" in refused(stack, "reset", "ruled")
    assert log_in(stack, "ruled", PASSWORD).status == 200
    text(stack, "reset", "ruled", "abc", settings={"PASSWORD_MIN": 3})


def test_a_log_in_renews_a_weaker_hash_and_keeps_a_stronger_one():
    with Stack(workers=1, settings={"PASSWORD_COST": 11}) as stack:

        def cost(name):
            statement = "SELECT password_hash FROM users WHERE username = ?"
            return rows_of_copy(stack, statement, name)[0]["password_hash"].split("$")[1]

        for name, first, renewed in (("weak", 10, 11), ("equal", 11, 11), ("strong", 12, 12)):
            ok(stack, "create", name, input=PASSWORD + "\n", settings={"PASSWORD_COST": first})
            before = cost(name)
            assert before == f"ln={first},r=8,p=3"
            assert log_in(stack, name, PASSWORD).status == 200
            assert cost(name) == f"ln={renewed},r=8,p=3"
            assert log_in(stack, name, PASSWORD).status == 200
        for wrong in ("9", "18", "2e4"):
            assert "PASSWORD_COST" in refused(
                stack, "create", "other", input=PASSWORD + "\n", settings={"PASSWORD_COST": wrong})
        # The cost of an installation that says nothing.
        ok(stack, "create", "usual", input=PASSWORD + "\n", settings={"PASSWORD_COST": None})
        assert cost("usual") == "ln=15,r=8,p=3"


def test_users_are_added_where_sign_up_is_closed():
    with Stack(workers=1, settings={"SIGNUP": "closed"}) as stack:
        form = {"username": "somebody", "password": PASSWORD}
        check_error(call(stack.url, "POST", "/user/signup", form=form), 403)
        user = ok(stack, "create", "Asim", "--role", "admin", "--first-name", "A",
                  input=PASSWORD + "\n")["user"]  # fmt: skip
        assert (user["role"], user["first_name"]) == ("admin", "A")
        assert log_in(stack, "asim", PASSWORD).json["user"]["id"] == user["id"]
        first = ok(stack, "create", "first", "--admin", input=PASSWORD + "\n")["user"]
        assert first["role"] == log_in(stack, "first", PASSWORD).json["user"]["role"] == "admin"
        assert "taken" in refused(stack, "create", "ASIM", input=PASSWORD + "\n")
        assert "user name" in refused(stack, "create", "a:b", input=PASSWORD + "\n")
        for secret in ("hash", "password"):
            assert secret not in json.dumps(user)


def test_a_disabled_account_is_shut_at_once_and_can_be_opened(stack):
    token, user = stack.signup("shut", PASSWORD)
    ok(stack, "disable", "shut")
    assert {session(stack, token) for _ in range(4)} == {401}
    assert log_in(stack, "shut", PASSWORD).status in (401, 403)
    assert ok(stack, "user", "shut")["disabled_at"]
    assert ok(stack, "disable", "shut")["changed"] is False
    ok(stack, "enable", user["id"])
    assert session(stack, token) == 401
    assert log_in(stack, "shut", PASSWORD).status == 200


def test_deleting_takes_what_a_user_owns_and_leaves_what_it_said_elsewhere(stack):
    token, user = stack.signup("leaver", PASSWORD)
    other_token, other = stack.signup("stayer", PASSWORD)
    own = post(stack, token, "/chat/create", name="own")
    post(stack, token, "/chat/prompt", id=own["id"], prompt="hello")
    group = post(stack, token, "/group/create", name="its group")
    others = post(stack, other_token, "/group/create", name="other group")
    post(stack, other_token, "/group/members/add", group_id=others["id"], user_ids=user["id"])
    shared = post(stack, token, "/chat/create", name="shared", group_id=others["id"])
    post(stack, token, "/chat/prompt", id=shared["id"], prompt="I was here")

    assert "--yes" in refused(stack, "delete", "leaver")
    assert session(stack, token) == 200
    result = ok(stack, "delete", "leaver", "--yes", "--hand-groups-to", "stayer")
    assert (result["chats_deleted"], result["groups_handed_on"]) == (1, 1)
    assert session(stack, token) == 401
    assert log_in(stack, "leaver", PASSWORD).status == 401
    assert "no user" in refused(stack, "user", "leaver")
    assert "no chat" in refused(stack, "messages", own["id"])
    groups = post(stack, other_token, "/group/index")["groups"]
    assert {(entry["id"], entry["owner_id"]) for entry in groups} == {
        (group["id"], other["id"]), (others["id"], other["id"]),
    }  # fmt: skip
    read = post(stack, other_token, "/chat/read", id=shared["id"])
    assert read["chat"]["user_id"] == other["id"]
    assert [message["prompt"] for message in read["messages"]] == ["I was here"]
    # What it did is on record, under its id.
    assert ok(stack, "events", "--user", user["id"], "--path", "/chat/prompt")["events"]

    result = ok(stack, "delete", other["id"], "--yes")
    assert (result["chats_deleted"], result["groups_deleted"]) == (1, 2)


def test_sessions_are_listed_and_ended(stack):
    token, user = stack.signup("several", PASSWORD)
    second = log_in(stack, "several", PASSWORD).json["token"]
    listed = ok(stack, "sessions", "list", "several")["sessions"]
    assert [entry["username"] for entry in listed] == ["several"] * 2
    mine = call(stack.url, "GET", "/user/session", token=token).json["session"]["id"]
    ok(stack, "sessions", "revoke", mine)
    assert (session(stack, token), session(stack, second)) == (401, 200)
    assert newest_event(stack, "sessions revoke")["user_id"] == user["id"]
    assert "no session" in refused(stack, "sessions", "revoke", mine)
    assert ok(stack, "sessions", "revoke", "--all", "several")["sessions_ended"] == 1
    assert session(stack, second) == 401
    assert "There are no sessions" in text(stack, "sessions", "list", "several")


# Conversations and records


def test_chats_and_messages_are_shown_and_off_the_record_on_request_alone(stack):
    token, user = stack.signup("talker", PASSWORD)
    escape = "\x1b[31mred\x07"
    one = post(stack, token, "/chat/create", name="talks")
    post(stack, token, "/chat/prompt", id=one["id"], prompt="two\nlines " + escape)
    post(stack, token, "/chat/prompt", id=one["id"], prompt="between us", otr="true")
    found = ok(stack, "chats", "--user", "talker")["chats"]
    assert [(entry["id"], entry["messages"]) for entry in found] == [(one["id"], 2)]
    shown = text(stack, "messages", one["id"])
    assert "> two\n> lines \\u{1B}[31mred" in shown
    assert "between us" not in shown and "off the record" in shown
    first, second = ok(stack, "messages", one["id"])["messages"]
    assert first["prompt"] == "two\nlines " + escape and first["reply"]
    assert second["otr"] is True and second["prompt"] is None
    assert "between us" in text(stack, "messages", one["id"], "--show-off-record")
    event = newest_event(stack, "messages")
    assert event["chat_id"] == one["id"] and "off the record" in event["detail"]
    assert ok(stack, "messages", one["id"], "--limit", "1")["messages"] == [second]
    before = ok(stack, "messages", one["id"], "--before", second["id"])["messages"]
    assert before == [first]
    assert "nothing with this id" in refused(stack, "messages", one["id"], "--before", "x")
    assert "There are no messages" in text(stack, "messages", one["id"], "--before", first["id"])


def test_events_are_filtered_and_exported(stack):
    token, user = stack.signup("watched", PASSWORD)
    headers = {"Content-Type": "application/json"}
    # Refused by the upstream, so that the row has the model of the request.
    model = 'mock?status=400&x=\x1b[31m,"=1'
    call(stack.url, "POST", "/v1/chat/completions", chat(model), headers, token)
    call(stack.url, "GET", "/nowhere", token=token)

    def seen(*arguments):
        """What the user did; every look at it leaves a row of its own."""
        found = ok(stack, "events", "--user", "watched", *arguments)["events"]
        return [event for event in found if event["type"] != "admin"]

    everything = seen()
    assert [event["path"] for event in everything] == [
        "/user/signup", "/v1/chat/completions", "/nowhere",
    ]  # fmt: skip
    forward = seen("--path", "/v1/")
    assert [event["type"] for event in forward] == ["forward"] and forward[0]["model"] == model
    assert len(seen("--status", "404")) == 1
    assert len(seen("--status", "4xx")) == 2
    assert not seen("--until", "1h")
    assert len(seen("--since", "1h")) == 3
    assert len(ok(stack, "events", "--limit", "2")["events"]) == 2
    lines = text(stack, "events", "--user", "watched", "--format", "jsonl").splitlines()
    exported = [json.loads(line) for line in lines]
    assert [event for event in exported if event["type"] != "admin"] == everything
    exported = text(stack, "events", "--user", "watched", "--format", "csv")
    rows = [row for row in csv.DictReader(io.StringIO(exported)) if row["type"] != "admin"]
    assert [row["id"] for row in rows] == [event["id"] for event in everything]
    assert rows[1]["model"] == 'mock?status=400&x=\\u{1B}[31m,"=1'
    assert "/nowhere" in text(stack, "events", "--user", "watched")


def lines(process):
    """Its output line by line, until nothing has come for 15 seconds."""
    poll, data = select.poll(), b""
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    while poll.poll(15_000) and (piece := os.read(process.stdout.fileno(), 65536)):
        *whole, data = (data + piece).split(b"\n")
        yield from whole


def test_new_events_are_followed_and_each_is_shown_once_when_it_has_ended(stack):
    token, user = stack.signup("followed", PASSWORD)
    process = stack.start_admin("events", "--follow", "--json", "--user", "followed")
    try:
        output = lines(process)
        # It follows once it shows its own trace.
        assert json.loads(next(output))["path"] == "events"
        headers = {"Content-Type": "application/json"}
        slow = chat("mock?head-delay-ms=1500")
        call(stack.url, "POST", "/v1/chat/completions", slow, headers, token)
        call(stack.url, "GET", "/nowhere", token=token)
        seen = []
        while "/nowhere" not in seen or "/v1/chat/completions" not in seen:
            event = json.loads(next(output))
            assert event["end"] and event["user_id"] == user["id"]
            seen.append(event["path"])
        assert seen.count("/nowhere") == seen.count("/v1/chat/completions") == 1
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


def test_use_is_counted_by_user_model_and_day(stack):
    token, user = stack.signup("user-of-tokens", PASSWORD)
    headers = {"Content-Type": "application/json"}
    usages = []
    for _ in range(3):
        answer = call(stack.url, "POST", "/v1/chat/completions", chat("mock"), headers, token)
        usages.append(answer.json["usage"])
    one = post(stack, token, "/chat/create", model="mock-2")
    post(stack, token, "/chat/prompt", id=one["id"], prompt="hello")
    found = ok(stack, "usage", "--user", "user-of-tokens")["usage"]
    assert {entry["model"]: entry["calls"] for entry in found} == {"mock": 3, "mock-2": 1}
    counted = next(entry for entry in found if entry["model"] == "mock")
    assert counted["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert counted["completion_tokens"] == sum(usage["completion_tokens"] for usage in usages)
    assert counted["username"] == "user-of-tokens" and len(counted["day"]) == 10
    everybody = ok(stack, "usage", "--by", "user")["usage"]
    mine = next(entry for entry in everybody if entry["user_id"] == user["id"])
    assert mine["calls"] == 4 and "model" not in mine
    assert "in all" in text(stack, "usage")
    assert ok(stack, "usage", "--until", "1h")["usage"] == []


# Settings and health


def test_settings_are_shown_with_their_origins_and_without_secrets(stack, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "api_key").write_text(CANARY_KEY + "\n")
    # Where nothing runs, the settings are those of the environment.
    place = {"STATE_DIRECTORY": tmp_path, "CREDENTIALS_DIRECTORY": credentials}
    shown = ok(stack, "config", settings={**place, "SIGNUP": "closed"})
    settings = {entry["name"]: entry for entry in shown["settings"]}
    assert settings["API_KEY"]["value"] == "<redacted>"
    assert settings["API_KEY"]["origin"] == "credential"
    assert (settings["SIGNUP"]["value"], settings["SIGNUP"]["origin"]) == ("closed", "environment")
    assert (settings["MAX_BODY"]["value"], settings["MAX_BODY"]["origin"]) == ("512MiB", "default")
    wrong = {**place, "MAX_BODY": "much", "SIGNUP": "maybe"}
    code, out, err = stack.admin("config", settings=wrong)
    assert code == 1 and "MAX_BODY" in err and "SIGNUP" in err and "much" in out


def results(stack, *arguments, code=0, **settings):
    found, out, err = stack.admin("doctor", "--json", *arguments, settings=settings)
    assert found == code, (out, err)
    check_clean(out + err)
    return {entry["check"]: (entry["result"], entry["text"]) for entry in json.loads(out)["checks"]}


def test_the_doctor_tells_what_is_well_and_what_is_not(stack, tmp_path):
    key = {"API_URL": stack.mock_url, "API_KEY": CANARY_KEY}
    # Beside the service its own settings count, and at a place where it does not run the environment's.
    # There is no SQLite database there.
    elsewhere = {**key, "STATE_DIRECTORY": tmp_path}
    bad = 0 if stack.server else 1
    checks = results(stack, "--upstream", **key)
    assert checks["sign-up"][0] == "warning"
    own = ("connections", "pools") if stack.server else ("integrity", "WAL")
    for check in ("settings", "state directory", "files", "database", "upstream", *own):
        assert checks[check][0] == "ok", checks[check]
    assert checks["processes"] == ("ok", "3 alive")
    assert checks["growth"] == ("ok", "known after an hour of events")
    if stack.server:
        assert "3 processes of 4 connections each (DB_CONNECTIONS) need 12" in checks["pools"][1]
        many = results(stack, code=1, DB_CONNECTIONS=100, **elsewhere)["pools"]
        assert many[0] == "broken" and "need 300, PostgreSQL allows 97" in many[1]
    assert "key" not in checks
    word = results(stack, code=bad, **{**elsewhere, "API_KEY": "not-needed-here"})["key"]
    assert word[0] == "warning" and "not masked" in word[1]
    assert results(stack, code=bad, SIGNUP="closed", **elsewhere)["sign-up"][0] == "ok"
    assert results(stack, code=1, MAX_BODY="much", **elsewhere)["settings"][0] == "broken"
    elsewhere["API_KEY"] = "sk-wrong"
    wrong = results(stack, "--upstream", code=1, **elsewhere)
    assert wrong["upstream"][0] == "broken"
    elsewhere["API_URL"] = "http://127.0.0.1:9"
    gone = results(stack, "--upstream", code=1, **elsewhere)
    assert gone["upstream"][0] == "broken"
    os.chmod(stack.state_directory, 0o755)
    try:
        assert results(stack, **key)["state directory"][0] == "warning"
    finally:
        os.chmod(stack.state_directory, 0o700)
    other = results(stack, code=1, **{**elsewhere, "DB_ADDRESS": "mysql://somewhere/x"})
    assert other["settings"][0] == "broken"


def test_wrong_usage_is_64_and_no_database_is_ever_made(stack, tmp_path):
    for arguments in (["nonsense"], ["user"], ["events", "--status", "x"], ["reset"]):
        assert "Usage:" in refused(stack, *arguments, code=64)
    empty = {"STATE_DIRECTORY": tmp_path, "DB_ADDRESS": ""}
    assert "there is no database" in refused(stack, "list", settings=empty)
    assert list(tmp_path.iterdir()) == []
    nowhere = {**empty, "STATE_DIRECTORY": tmp_path / "nowhere"}
    assert "no state directory" in refused(stack, "list", settings=nowhere)
    other = {"DB_ADDRESS": "mysql://somewhere/x"}
    assert "DB_ADDRESS" in refused(stack, "list", settings=other)


def test_completion_is_offered_for_bash(stack):
    script = stack.admin("--generate-completion-script", "bash")[1]
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    assert "sessions" in script


@pytest.fixture
def open_directory():
    """A directory that others than root may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_becomes_the_owner_and_others_are_told_whom_to_be(open_directory):
    program, state = open_directory / "proxy-gpt-admin", open_directory / "state"
    shutil.copy(binary("proxy-gpt-admin"), program)
    os.chmod(program, 0o755)
    with Stack(workers=1, nginx=False, streamer=False, state_directory=state) as stack:
        for name in (".", *os.listdir(state)):
            shutil.chown(state / name, "nobody", "nogroup")
        environment = {"STATE_DIRECTORY": str(state)}
        options = {"env": environment, "capture_output": True, "text": True, "cwd": "/"}
        told = subprocess.run([program, "list"], user="daemon", **options)
        assert told.returncode == 1 and "run this as root or as nobody" in told.stderr
        for user in ("nobody", "root"):
            done = subprocess.run([program, "list"], user=user, **options)
            assert done.returncode == 0, done.stderr
        backup = open_directory / "backup.db"
        done = subprocess.run([program, "backup", backup], **options)
        assert done.returncode == 0, done.stderr
        owners = {pathlib.Path(state, name).owner() for name in os.listdir(state)}
        assert owners == {"nobody"}
        assert backup.owner() == "root" and backup.stat().st_mode & 0o777 == 0o600
        stack.stop_worker(stack.workers[0])
        done = subprocess.run([program, "restore", backup, "--yes"], **options)
        assert done.returncode == 0, done.stderr
        owners = {pathlib.Path(state, name).owner() for name in os.listdir(state)}
        assert owners == {"nobody"}
