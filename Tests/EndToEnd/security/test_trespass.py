"""What a trespasser tries on chats and groups: other sites' pages, other chats' ids, odd values."""

import json
import uuid

import pytest
from client import JSON, call, check_error
from person import Person

DATABASES = ("sqlite", "postgresql+redis")

WRITES = [
    "/chat/create", "/chat/update", "/chat/delete", "/chat/prompt", "/chat/stop", "/chat/user/add",
    "/chat/user/remove", "/group/create", "/group/update", "/group/delete", "/group/members/add",
    "/group/members/remove",
]  # fmt: skip
ODD = ["", "0", "-1", "null", "%", "_", "' OR '1'='1", "\u202e", "x" * 5000, "🙂" * 100, "../..", "\\"]


@pytest.fixture(scope="module")
def owner(stack):
    return Person(stack)


@pytest.fixture(scope="module")
def thief(stack):
    return Person(stack)


@pytest.mark.parametrize("path", WRITES)
def test_another_sites_page_changes_nothing_with_a_visitors_cookie(stack, owner, path):
    chat, group = owner.chat(), owner.group()
    id = group if path.startswith("/group") else chat
    form = {"id": id, "name": "taken", "prompt": "x", "user_ids": owner.id, "user_id": owner.id}
    before = owner.do("/chat/index", limit=1000), owner.do("/group/index", limit=1000)
    for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"},
                    {"Sec-Fetch-Site": "cross-site"}):  # fmt: skip
        headers = {"Cookie": f"sess={owner.token}", **foreign}
        check_error(call(stack.url, "POST", path, form=form, headers=headers), 403, "forbidden")
    assert (owner.do("/chat/index", limit=1000), owner.do("/group/index", limit=1000)) == before
    assert owner.messages(chat) == []


def test_a_message_is_reached_through_its_own_chat_alone(owner, thief):
    chat, mine = owner.chat(model="mock?endless&chunk-delay-ms=50"), thief.chat()
    running = owner.prompt(chat, "secret", stream=True)
    # By the thief's own chat, by no chat, and by the right one in which it is nobody.
    for id, param in ((mine, "message_id"), (str(uuid.uuid4()), None), (chat, None)):
        answer = thief.post("/chat/stop", id=id, message_id=running["id"])
        check_error(answer, 404, "not_found")
        assert answer.error["param"] == param
    for anchor in ("before", "after"):
        answer = thief.post("/chat/read", id=mine, **{anchor: running["id"]})
        check_error(answer, 400, "invalid_request", anchor)
    assert owner.message(chat, running["id"])["state"] == "streaming"
    owner.do("/chat/delete", id=chat)


def test_an_idempotency_key_does_not_reach_into_other_peoples_chats(owner, thief):
    key, chat, mine = {"Idempotency-Key": "guessed"}, owner.chat(), thief.chat()
    owner.post("/chat/prompt", headers=key, id=chat, prompt="the secret")
    answer = thief.post("/chat/prompt", headers=key, id=mine, prompt="the secret")
    assert answer.status == 200 and answer.json["message"]["chat_id"] == mine
    check_error(thief.post("/chat/prompt", headers=key, id=chat, prompt="the secret"), 404)


def test_what_is_not_ones_to_set_is_not_set(owner, thief):
    group, chat = owner.group(), thief.chat()
    for path, form, others in (
        ("/chat/update", {"id": chat, "name": "n"}, {"user_id": owner.id, "group_id": group,
                                                     "created_at": "x"}),
        ("/chat/create", {}, {"id": "chosen", "user_id": owner.id}),
        ("/group/create", {"name": "g"}, {"id": "chosen", "owner_id": owner.id}),
        ("/chat/prompt", {"id": chat, "prompt": "x", "otr": True},
         {"message_id": "chosen", "user_id": owner.id, "reply": "y"}),
        ("/user/update", {}, {"id": owner.id, "role": "admin", "password": "x"}),
    ):  # fmt: skip
        for name, value in others.items():
            check_error(thief.post(path, **form, **{name: value}), 400, "invalid_request", name)
    read = thief.do("/chat/read", id=chat)
    assert (read["chat"]["user_id"], read["chat"]["group_id"]) == (thief.id, None)
    assert read["chat"]["name"] != "n" and read["messages"] == []


@pytest.mark.parametrize("odd", ODD)
def test_odd_ids_are_nobodys(pool, owner, odd):
    """`pool` sees to it that no worker ends."""
    for path in ("/chat/read", "/chat/update", "/chat/delete", "/group/read", "/group/delete",
                 "/group/members"):  # fmt: skip
        check_error(owner.post(path, id=odd), 404 if odd else 400)
    chat, group = owner.chat(), owner.group()
    check_error(owner.post("/chat/prompt", id=odd, prompt="x"), 404 if odd else 400)
    check_error(owner.post("/chat/user/add", id=chat, user_id=odd), 404)
    check_error(owner.post("/chat/stop", id=chat, message_id=odd), 404 if odd else 400)
    check_error(owner.post("/chat/create", group_id=odd), 404)
    check_error(owner.post("/chat/index", before=odd), 400, param="before")
    check_error(owner.post("/group/update", id=group, owner_id=odd), 404, param="owner_id")
    answer = owner.post("/group/members/add", id=group, user_ids=odd)
    check_error(answer, 404 if odd else 400, param="user_ids")


@pytest.mark.parametrize("value", [1, 1.5, True, [], ["x"], {}, {"id": "x"}, [[]]])
def test_wrong_types_are_named(pool, owner, value):
    chat = owner.chat()
    for path, name in (("/chat/read", "id"), ("/chat/create", "name"), ("/chat/create", "model"),
                       ("/chat/create", "group_id"), ("/group/create", "description"),
                       ("/chat/read", "before")):  # fmt: skip
        body = ({"id": chat} if path == "/chat/read" else {"name": "x"}) | {name: value}
        answer = call(owner.url, "POST", path, json=body, token=owner.token)
        check_error(answer, 400, "invalid_request", name)
    body = json.dumps({"id": owner.group(), "user_ids": value})
    status = 404 if value == ["x"] else 400
    headers = {"Content-Type": JSON}
    answer = call(owner.url, "POST", "/group/members/add", body, headers, owner.token)
    check_error(answer, status, param="user_ids")


def test_one_request_names_at_most_a_thousand_users(owner):
    group = owner.group()
    names = ",".join([owner.name] * 1001)
    check_error(owner.post("/group/members/add", id=group, user_ids=names), 400, param="user_ids")
    assert owner.do("/group/members/add", id=group, user_ids=names[: -len(owner.name) - 1]) == {}
