"""An installation that has outgrown SQLite moves to PostgreSQL, and nobody notices but the operator."""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import time

import cluster
import pytest
from client import call
from person import Person
from stack import Stack, binary

PASSWORD = "password-1"
MIGRATE_EVENTS = "SELECT path FROM events WHERE type = 'admin' AND path = 'migrate'"


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """The state directory of a stack in which something of everything happened, and its users."""
    directory = tmp_path_factory.mktemp("grown")
    with Stack(database="sqlite", state_directory=directory) as stack:
        people = [Person(stack) for _ in range(3)]
        owner, member, guest = people
        group = owner.do("/group/create", name="κόσμε", description="d")["id"]
        owner.do("/group/members/add", id=group, user_ids=member.user["id"])
        chats = [owner.chat(), owner.do("/chat/create", name="g", group_id=group)["id"]]
        owner.do("/chat/user/add", id=chats[0], user_id=guest.user["id"])
        for person, chat in ((owner, chats[0]), (guest, chats[0]), (member, chats[1])):
            for number in range(20):
                person.do("/chat/prompt", id=chat, prompt=f"{number} 🎈 ' \\")
        owner.do("/chat/prompt", id=chats[0], prompt="secret", otr=True)
        owner.do("/chat/delete", id=owner.chat())
        body = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}
        for _ in range(30):
            answer = call(
                stack.url, "POST", "/v1/chat/completions", token=owner.token, json=body
            )
            assert answer.status == 200
        read = {
            (person.token, chat): person.do("/chat/read", id=chat)
            for person, chat in ((owner, chats[0]), (guest, chats[0]), (member, chats[1]))
        }
    return directory, people, chats, read


@pytest.fixture
def server(tmp_path):
    shared = cluster.shared()
    return shared, shared.database(str(tmp_path))


def migrate(file, server, *arguments):
    shared, name = server
    return subprocess.Popen(
        [binary("proxy-gpt-admin"), "migrate", "--from", f"sqlite:{file}", *arguments],
        env={"DB_ADDRESS": shared.address(name)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report(file, server):
    process = migrate(file, server, "--json")
    output, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    return json.loads(output)["tables"]


def test_everybody_goes_on_where_they_were(grown, server, tmp_path):
    directory, people, chats, read = grown
    tables = report(directory / "proxy.db", server)
    assert tables["users"] == 3 and tables["messages"] == 61 and tables["event_bodies"] >= 30
    with Stack(database=server, state_directory=tmp_path) as stack:
        for (token, chat), before in read.items():
            answer = call(stack.url, "GET", f"/chat/read?id={chat}", token=token)
            assert answer.json == before
        owner = people[0]
        sent = call(
            stack.url, "POST", "/chat/prompt", token=owner.token,
            form={"id": chats[0], "prompt": "what was said?"},
        )  # fmt: skip
        assert sent.status == 200
        form = {"username": owner.user["username"], "password": PASSWORD}
        assert call(stack.url, "POST", "/user/login", form=form).status == 200
        code, listed, _ = stack.admin("list", "--json")
        assert code == 0 and len(json.loads(listed)["users"]) == 3
    assert server[0].rows(server[1], MIGRATE_EVENTS) == [{"path": "migrate"}]
    again = migrate(directory / "proxy.db", server)
    assert "has been moved" in again.communicate(timeout=60)[1] and again.returncode == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_migration_goes_on_when_it_is_started_again(grown, server, tmp_path, seed):
    directory, _, _, _ = grown
    file = tmp_path / "proxy.db"
    for path in pathlib.Path(directory).glob("proxy.db*"):
        shutil.copy(path, tmp_path)
    chance = random.Random(seed)
    for _ in range(4):
        process = migrate(file, server)
        # Chance decides where it is hit; after its end it is not hit at all.
        time.sleep(chance.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    moves = server[0].run("SELECT to_regclass('moves') IS NOT NULL", server[1])
    ended = moves == "t" and server[0].rows(
        server[1], "SELECT source FROM moves WHERE ended_at IS NOT NULL"
    )
    if not ended:
        assert report(file, server)["messages"] == 61
    with Stack(database=server, state_directory=tmp_path / "new", mock=False):
        assert server[0].rows(server[1], "SELECT COUNT(*) AS n FROM messages") == [{"n": 61}]


def test_it_says_what_it_needs(grown, server):
    directory, _, _, _ = grown
    file = directory / "proxy.db"

    def refusal(*arguments, **environment):
        done = subprocess.run(
            [binary("proxy-gpt-admin"), "migrate", *arguments],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stderr

    address = server[0].address(server[1])
    code, text = refusal("--from", str(file), STATE_DIRECTORY=str(directory))
    assert code == 1 and "DB_ADDRESS does not name a PostgreSQL database" in text
    code, text = refusal("--from", f"{file}-nowhere", DB_ADDRESS=address)
    assert code == 1 and "there is no database" in text
    code, text = refusal(DB_ADDRESS=address)
    assert code == 64 and "--from" in text
