"""Chats: their form, their lists, their users, and deleted ones."""

import datetime
import json
import uuid

import database
import pytest
from client import call, check_error
from person import Person
from stack import Stack, wait_for

DATABASES = ("sqlite", "postgresql+redis")

CHAT = {"id", "name", "model", "user_id", "group_id", "created_at", "updated_at"}


@pytest.fixture(scope="module")
def owner(stack):
    return Person(stack)


@pytest.fixture(scope="module")
def member(stack):
    return Person(stack)


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# The chat itself


def test_a_chat_that_is_told_nothing_has_a_name_and_a_model(owner):
    chat = owner.do("/chat/create")
    assert set(chat) == CHAT
    assert (chat["name"], chat["model"], chat["group_id"]) == ("general", "gpt-3", None)
    assert chat["user_id"] == owner.id
    assert uuid.UUID(chat["id"]).version == 7
    assert moment(chat["created_at"]) == moment(chat["updated_at"])


def test_a_form_json_and_the_query_make_the_same_chat(stack, owner):
    fields = {"name": "Olá ☀", "model": "gpt-4"}
    for given in (
        {"form": fields},
        {"json": fields},
        {"body": '{"name":"Olá ☀","model":"gpt-4"}'.encode()},
        {"path": "/chat/create?name=Ol%C3%A1+%E2%98%80&model=gpt-4"},
    ):
        path = given.pop("path", "/chat/create")
        chat = call(stack.url, "POST", path, token=owner.token, **given).json
        assert (chat["name"], chat["model"]) == ("Olá ☀", "gpt-4")


def test_an_update_keeps_what_is_absent_and_answers_the_chat(owner):
    chat = owner.do("/chat/create", name="before", model="gpt-4")
    changed = owner.do("/chat/update", id=chat["id"], name="after")
    assert changed == chat | {"name": "after", "updated_at": changed["updated_at"]}
    assert moment(changed["updated_at"]) >= moment(chat["updated_at"])
    changed = owner.do("/chat/update", chat_id=chat["id"], model="other")
    assert (changed["name"], changed["model"]) == ("after", "other")
    assert owner.do("/chat/read", id=chat["id"])["chat"] == changed


def test_every_endpoint_takes_the_chat_by_either_name(owner, member):
    for name in ("id", "chat_id"):
        chat = owner.chat()
        message = owner.do("/chat/prompt", **{name: chat}, prompt="hello")["message"]
        owner.do("/chat/user/add", **{name: chat}, user_id=member.id)
        assert member.do("/chat/read", **{name: chat})["messages"] == [message]
        stopped = owner.do("/chat/stop", **{name: chat}, message_id=message["id"])
        assert stopped["message"] == message
        owner.do("/chat/update", **{name: chat}, name="x")
        owner.do("/chat/user/remove", **{name: chat}, user_id=member.id)
        assert owner.do("/chat/delete", **{name: chat}) == {}


@pytest.mark.parametrize(
    "path, allowed",
    [
        ("/chat/read", "GET, HEAD, POST"), ("/chat/index", "GET, HEAD, POST"),
        ("/chat/create", "POST"), ("/chat/update", "POST"), ("/chat/delete", "POST"),
        ("/chat/prompt", "POST"), ("/chat/stop", "POST"), ("/chat/user/add", "POST"),
        ("/chat/user/remove", "POST"),
    ],
)  # fmt: skip
def test_what_only_reads_takes_get_too(stack, owner, path, allowed):
    target = path if path == "/chat/index" else f"{path}?id={owner.chat()}"
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = call(stack.url, method, target, token=owner.token)
        if method in allowed:
            assert answer.status == 200
        else:
            check_error(answer, 405, "method_not_allowed")
            assert answer.header("Allow") == allowed
    head = call(stack.url, "HEAD", target, token=owner.token)
    assert (head.status, head.body) == (200 if "HEAD" in allowed else 405, b"")


@pytest.mark.parametrize(
    "path, fields, param",
    [
        ("/chat/create", {"name": ""}, "name"), ("/chat/create", {"name": "  "}, "name"),
        ("/chat/create", {"name": "n" * 121}, "name"), ("/chat/create", {"name": "a\nb"}, "name"),
        ("/chat/create", {"name": ["a", "b"]}, "name"), ("/chat/create", {"model": ""}, "model"),
        ("/chat/create", {"model": "m" * 201}, "model"),
        ("/chat/update", {"id": "CHAT", "name": " "}, "name"), ("/chat/update", {}, "id"),
        ("/chat/read", {}, "id"), ("/chat/read", {"id": ""}, "id"), ("/chat/delete", {}, "id"),
        ("/chat/read", {"id": ["CHAT", "CHAT"]}, "id"),
        ("/chat/read", {"id": "CHAT", "limit": 0}, "limit"),
        ("/chat/read", {"id": "CHAT", "limit": 1001}, "limit"),
        ("/chat/index", {"limit": "ten"}, "limit"), ("/chat/index", {"limit": "9" * 30}, "limit"),
        ("/chat/index", {"before": "x", "after": "x"}, "before"),
        ("/chat/read", {"id": "CHAT", "after": "none"}, "after"),
        ("/chat/user/add", {"id": "CHAT"}, "user_id"),
        ("/chat/user/remove", {"id": "CHAT"}, "user_id"),
        ("/chat/stop", {"id": "CHAT"}, "message_id"),
        ("/chat/prompt", {"id": "CHAT"}, "prompt"), ("/chat/prompt", {"prompt": "x"}, "id"),
        ("/chat/prompt", {"id": "CHAT", "prompt": ""}, "prompt"),
        ("/chat/prompt", {"id": "CHAT", "prompt": "a\0b"}, "prompt"),
        ("/chat/prompt", {"id": "CHAT", "prompt": "x", "otr": "maybe"}, "otr"),
        ("/chat/prompt", {"id": "CHAT", "prompt": "x", "stream": "2"}, "stream"),
        ("/chat/prompt", {"id": "CHAT", "prompt": "x", "context": -1}, "context"),
        ("/chat/prompt", {"id": "CHAT", "prompt": "x", "context": 1001}, "context"),
        ("/chat/prompt", {"id": "CHAT", "prompt": "x", "context": "1.5"}, "context"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_stored(owner, path, fields, param):
    chat = owner.chat()
    before = owner.do("/chat/index", limit=1000)["chats"]
    given = {
        name: [chat if one == "CHAT" else one for one in value]
        if isinstance(value, list)
        else (chat if value == "CHAT" else value)
        for name, value in fields.items()
    }
    check_error(owner.post(path, **given), 400, "invalid_request", param)
    assert owner.do("/chat/index", limit=1000)["chats"] == before
    assert owner.messages(chat) == []


# Lists


def test_history_is_read_from_its_end_in_pages_that_ascend(owner):
    chat = owner.chat()
    sent = [owner.prompt(chat, f"number {number}", otr=True) for number in range(7)]
    assert owner.do("/chat/read", id=chat)["messages"] == sent
    newest = owner.do("/chat/read", id=chat, limit=3)
    assert newest["messages"] == sent[4:] and newest["has_more"] is True
    older = owner.do("/chat/read", id=chat, limit=3, before=sent[4]["id"])
    assert older["messages"] == sent[1:4] and older["has_more"] is True
    oldest = owner.do("/chat/read", id=chat, limit=3, before=sent[1]["id"])
    assert oldest["messages"] == sent[:1] and oldest["has_more"] is False
    after = owner.do("/chat/read", id=chat, limit=3, after=sent[0]["id"])
    assert after["messages"] == sent[1:4] and after["has_more"] is True
    rest = owner.do("/chat/read", id=chat, limit=3, after=sent[3]["id"])
    assert rest["messages"] == sent[4:] and rest["has_more"] is False
    assert owner.do("/chat/read", id=chat, after=sent[-1]["id"])["messages"] == []


def test_a_page_ends_early_where_its_texts_are_long(tmp_path):
    """A thousand of the longest prompts must not meet in a worker's memory."""
    with Stack(workers=1, streamer=False, state_directory=tmp_path) as stack:
        owner = Person(stack)
        chat = owner.chat()
        database.stop_workers(stack)
        fill(stack, chat, owner.id, 150, prompt="x" * 128 * 1024)
        stack.start_worker()

        def walk(direction, **anchor):
            """All pages in one direction, in the order in which they came."""
            pages = []
            while not pages or answer.json["has_more"]:
                answer = owner.post("/chat/read", id=chat, limit=1000, **anchor)
                assert answer.status == 200 and len(answer.body) < 5 * 1024 * 1024
                pages.append([message["id"] for message in answer.json["messages"]])
                anchor = {direction: pages[-1][0 if direction == "before" else -1]}
            return pages

        back = [id for page in reversed(walk("before")) for id in page]
        assert len(back) == len(set(back)) == 150
        forth = [id for page in walk("after", after=back[0]) for id in page]
        assert forth == back[1:]


def test_the_index_holds_own_joined_and_group_chats_once_each(stack):
    owner, other = Person(stack), Person(stack)
    group = other.group(owner)
    made = [owner.chat(), other.chat(), other.chat(group_id=group), owner.chat(group_id=group)]
    other.do("/chat/user/add", id=made[1], user_id=owner.id)
    other.do("/chat/user/add", id=made[2], user_id=owner.id)
    other.chat()
    index = owner.do("/chat/index")
    assert [chat["id"] for chat in index["chats"]] == made and index["has_more"] is False
    walked, anchor = [], {}
    while True:
        page = owner.do("/chat/index", limit=1, **anchor)
        walked = [chat["id"] for chat in page["chats"]] + walked
        if not page["has_more"]:
            break
        anchor = {"before": walked[0]}
    assert walked == made
    assert [chat["id"] for chat in owner.do("/chat/index", after=made[1])["chats"]] == made[2:]
    for who in (owner, other):
        filtered = who.do("/chat/index", group_id=group)["chats"]
        assert [chat["id"] for chat in filtered] == made[2:]
    assert Person(stack).do("/chat/index", group_id=group) == {"chats": [], "has_more": False}


# Users of a chat


def test_adding_takes_an_id_or_a_name_and_twice_is_once(owner, member):
    chat = owner.chat()
    for fields in ({"user_id": member.id}, {"username": member.name.upper()},
                   {"user_id": member.name}, {"user_id": owner.id}):  # fmt: skip
        assert owner.do("/chat/user/add", id=chat, **fields) == {}
        users = owner.do("/chat/read", id=chat)["users"]
        assert {user["id"] for user in users} <= {owner.id, member.id} and len(users) == 2
    assert set(users[0]) == {"id", "username", "first_name", "last_name"}


def test_an_unknown_user_cannot_be_added(owner):
    chat = owner.chat()
    for nobody in (str(uuid.uuid4()), "no-such-name", "' OR 1=1 --"):
        answer = owner.post("/chat/user/add", id=chat, user_id=nobody)
        check_error(answer, 404, "not_found", "user_id")


def test_users_of_a_chat_may_leave_and_its_owner_may_not(owner, member):
    chat = owner.chat()
    owner.do("/chat/user/add", id=chat, user_id=member.id)
    check_error(member.post("/chat/user/remove", id=chat, user_id=owner.id), 403)
    check_error(member.post("/chat/user/remove", id=chat, user_id="no-such-name"), 403)
    assert member.do("/chat/user/remove", id=chat, username=member.name) == {}
    check_error(member.post("/chat/read", id=chat), 404)
    assert owner.do("/chat/user/remove", id=chat, user_id=member.id) == {}
    check_error(owner.post("/chat/user/remove", id=chat, user_id=owner.id), 400, param="user_id")


def test_users_of_a_chat_see_each_others_names_and_no_more(stack, owner):
    guest, chat = Person(stack), owner.chat()
    check_error(guest.get(f"/user/read?id={owner.id}"), 404)
    owner.do("/chat/user/add", id=chat, user_id=guest.id)
    seen = guest.get(f"/user/read?id={owner.id}").json
    assert set(seen) == {"id", "username", "first_name", "last_name"}
    owner.do("/chat/delete", id=chat)
    check_error(guest.get(f"/user/read?id={owner.id}"), 404)


def test_messages_keep_the_name_of_an_author_who_left(stack):
    # Users who share nothing else.
    owner, member = Person(stack), Person(stack)
    group = owner.group(member)
    chats = [owner.chat(), owner.chat(group_id=group)]
    owner.do("/chat/user/add", id=chats[0], user_id=member.id)
    for chat in chats:
        member.prompt(chat, "written", otr=True)
    owner.do("/chat/user/remove", id=chats[0], user_id=member.id)
    owner.do("/group/members/remove", id=group, user_ids=member.id)
    for chat in chats:
        read = owner.get(f"/chat/read?id={chat}").json
        assert [user["id"] for user in read["users"]] == [owner.id]
        assert [message["username"] for message in read["messages"]] == [member.name]
        code, out, err = stack.admin("messages", chat, "--json")
        assert code == 0, err
        assert [message["username"] for message in json.loads(out)["messages"]] == [member.name]
    check_error(owner.get(f"/user/read?id={member.id}"), 404)


# Deletion


def fill(stack, chat, user, count, prompt="p"):
    """Puts messages into a chat of a stack that has stopped."""
    text = "INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model, state, "
    text += "created_at, updated_at) VALUES "
    text += ", ".join(["(?, ?, ?, ?, ?, 'r', 'mock', 'done', 0, 0)"] * count)
    values = []
    for number in range(count):
        values += [str(uuid.uuid4()), chat, number + 1, user, prompt]
    assert database.change(stack, text, *values) == count
    database.change(stack, "UPDATE chats SET last_message_seq = ? WHERE id = ?", count, chat)


def test_large_deleted_chats_are_gone_at_once_and_their_rows_soon(tmp_path):
    with Stack(workers=1, state_directory=tmp_path) as stack:
        owner, member = Person(stack), Person(stack)
        group = owner.group(member)
        alone, kept = owner.chat(), owner.chat()
        owner.do("/chat/user/add", id=alone, user_id=member.id)
        inside = [owner.chat(group_id=group) for _ in range(3)]
        database.stop_workers(stack)
        for chat, count in ((alone, 1300), (inside[0], 700), (inside[1], 5), (kept, 10)):
            fill(stack, chat, owner.id, count)
        stack.start_worker()
        [anchor] = owner.messages(alone, limit=1)
        for path, id in (("/chat/delete", alone), ("/group/delete", group)):
            assert owner.do(path, id=id) == {}
            check_error(owner.post(path, id=id), 404)
        for who in (owner, member):
            for chat in (alone, *inside):
                check_error(who.post("/chat/read", id=chat), 404)
                check_error(who.post("/chat/prompt", id=chat, prompt="x"), 404)
                check_error(who.post("/chat/user/add", id=chat, user_id=who.id), 404)
            check_error(who.post("/group/read", id=group), 404)
            assert who.do("/group/index")["groups"] == []
        assert [chat["id"] for chat in owner.do("/chat/index")["chats"]] == [kept]
        assert member.do("/chat/index")["chats"] == []
        check_error(owner.post("/chat/read", id=kept, before=anchor["id"]), 400, param="before")

        def left():
            return database.rows_of_copy(
                stack,
                "SELECT (SELECT COUNT(*) FROM messages) AS messages, "
                "(SELECT COUNT(*) FROM deleted_chats) AS deleted, "
                "(SELECT COUNT(*) FROM chat_users) AS users, "
                "(SELECT COUNT(*) FROM group_members) AS members",
            )

        gone = [{"messages": 10, "deleted": 0, "users": 0, "members": 0}]
        wait_for(lambda: left() == gone, "their rows to go")
