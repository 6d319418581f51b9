"""The specification's walk from sign-up to a group chat, by curl alone.

Every command of its Chat and Group sections is pasted into a shell; only the address, the ids of
the examples and the caller's token are filled in.
"""

import re

import pytest
from test_seed import paste

DATABASES = ("sqlite", "postgresql+redis")
# As `make run` sets it: the examples' passwords are short.
STACK = {"settings": {"PASSWORD_MIN": "3"}}


class Reader:
    """A user who follows the specification with a shell."""

    def __init__(self, stack, token):
        self.stack, self.token, self.ids = stack, token, {}

    def paste(self, text):
        for name, value in self.ids.items():
            text = text.replace(name, value)
        # The specification misspells the address once.
        text = text.replace("http://locahost:8080", "http://localhost:8080")
        text = text.replace("curl ", f"curl -sS -H 'Authorization: Bearer {self.token}' ", 1)
        return paste(self.stack, text)[0]


def sign_up(stack, name):
    answer, _ = paste(
        stack, f'curl http://localhost:8080/user/signup -d "username={name}&password=bazbar"'
    )
    return answer


@pytest.fixture(scope="module")
def users(stack):
    return {name: sign_up(stack, name) for name in ("asim", "mara", "stranger")}


def test_from_sign_up_to_a_group_chat(stack, users):
    asim = Reader(stack, users["asim"]["token"])
    mara = Reader(stack, users["mara"]["token"])
    stranger = Reader(stack, users["stranger"]["token"])
    asim.ids["user-1"] = users["mara"]["user"]["id"]

    chat = asim.paste('curl http://localhost:8080/chat/create \\\n-d "name=foobar&model=gpt-3"')
    assert set(chat) == {
        "id", "name", "model", "user_id", "group_id", "created_at", "updated_at",
    }  # fmt: skip
    assert (chat["name"], chat["model"], chat["group_id"]) == ("foobar", "gpt-3", None)
    assert chat["user_id"] == users["asim"]["user"]["id"]
    for reader in (asim, mara, stranger):
        reader.ids["chat-1"] = chat["id"]

    read = 'curl "http://localhost:8080/chat/read?id=chat-1"'
    assert mara.paste(read)["error"]["code"] == "not_found"
    added = asim.paste(
        'curl http://locahost:8080/chat/user/add \\\n-d "chat_id=chat-1&user_id=user-1"'
    )
    assert added == {}
    assert {user["username"] for user in mara.paste(read)["users"]} == {"asim", "mara"}

    reply = asim.paste(
        'curl http://localhost:8080/chat/prompt \\\n-d "id=chat-1&prompt=tell+me+about+spain"'
    )
    assert reply["reply"].startswith("echo: tell me about spain")
    assert reply["message"]["reply"] == reply["reply"]
    assert reply["message"]["state"] == "done"
    assert mara.paste(read)["messages"] == [reply["message"]]
    assert stranger.paste(read)["error"]["code"] == "not_found"

    chats = mara.paste("curl http://localhost:8080/chat/index")
    assert chats["has_more"] is False
    assert [entry["id"] for entry in chats["chats"]] == [chat["id"]]

    group = asim.paste(
        'curl http://localhost:8080/group/create \\\n-d "name=foobar&description=my+awesome+group"'
    )
    assert (group["name"], group["description"]) == ("foobar", "my awesome group")
    for reader in (asim, mara, stranger):
        reader.ids["group-1"] = group["id"]
    members = 'curl http://localhost:8080/group/members -d "group_id=group-1"'
    assert mara.paste(members)["error"]["code"] == "not_found"
    added = asim.paste(
        'curl http://localhost:8080/group/members/add \\\n-d "group_id=group-1&user_ids=user-1"'
    )
    assert added == {}
    assert {user["username"] for user in mara.paste(members)["users"]} == {"asim", "mara"}
    assert mara.paste("curl http://localhost:8080/group/index")["groups"] == [group]

    group_chat = asim.paste(
        'curl http://localhost:8080/chat/create \\\n-d "name=foobar&group_id=group-1"'
    )
    assert group_chat["group_id"] == group["id"]
    asim.ids["chat-1"] = mara.ids["chat-1"] = stranger.ids["chat-1"] = group_chat["id"]
    told = mara.paste('curl http://localhost:8080/chat/prompt -d "id=chat-1&prompt=hello+all"')
    assert told["message"]["group_id"] == group["id"]
    assert asim.paste(read)["messages"] == [told["message"]]
    assert stranger.paste(read)["error"]["code"] == "not_found"

    secret = asim.paste(
        'curl http://localhost:8080/chat/prompt -d "id=chat-1&prompt=' + "between+us+" * 50 + '&otr=true"'
    )
    assert secret["message"]["otr"] is True and secret["reply"] == ""
    again = mara.paste('curl http://localhost:8080/chat/prompt -d "id=chat-1&prompt=and+now"')
    # What was said before is in the context, what was said off the record is not.
    assert 15 < again["message"]["usage"]["prompt_tokens"] < 100
    assert [entry["id"] for entry in asim.paste(read)["messages"]] == [
        told["message"]["id"], secret["message"]["id"], again["message"]["id"],
    ]  # fmt: skip

    removed = asim.paste(
        'curl http://localhost:8080/group/members/remove -d "group_id=group-1&user_ids=user-1"'
    )
    assert removed == {}
    assert mara.paste(read)["error"]["code"] == "not_found"
    assert asim.paste('curl http://localhost:8080/chat/delete -d "id=chat-1"') == {}
    assert asim.paste(read)["error"]["code"] == "not_found"
    assert asim.paste('curl http://localhost:8080/group/delete -d "id=group-1"') == {}
    assert asim.paste("curl http://localhost:8080/group/index")["groups"] == []


def test_every_error_of_the_walk_has_the_request_id_of_its_answer(stack, users):
    token = users["asim"]["token"]
    answer, trace = paste(
        stack,
        f"curl -sv -H 'Authorization: Bearer {token}' -H 'X-Request-Id: walk-1' "
        "http://localhost:8080/chat/read -d id=none",
    )
    assert answer["error"]["code"] == "not_found"
    assert re.search(r"(?i)< x-request-id: walk-1", trace)
