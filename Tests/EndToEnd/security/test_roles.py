"""Rights of every endpoint: without a credential, as a stranger, a member and an owner."""

import uuid

import pytest
from client import call, check_error

DATABASES = ("sqlite", "postgresql+redis")

# path, form, and what a stranger, a member and the owner get. `None` is success.
CHAT = [
    ("/chat/read", {}, "not_found", None, None),
    ("/chat/update", {"name": "other"}, "not_found", "forbidden", None),
    ("/chat/prompt", {"prompt": "hello"}, "not_found", None, None),
    ("/chat/stop", {"message_id": "MESSAGE"}, "not_found", "forbidden", None),
    ("/chat/user/add", {"user_id": "OTHER"}, "not_found", "forbidden", None),
    ("/chat/user/remove", {"user_id": "OTHER"}, "not_found", "forbidden", None),
    ("/chat/delete", {}, "not_found", "forbidden", None),
]
GROUP = [
    ("/group/read", {}, "not_found", None, None),
    ("/group/members", {}, "not_found", None, None),
    ("/group/update", {"name": "other"}, "not_found", "forbidden", None),
    ("/group/members/add", {"user_ids": "OTHER"}, "not_found", "forbidden", None),
    ("/group/members/remove", {"user_ids": "OTHER"}, "not_found", "forbidden", None),
    ("/group/delete", {}, "not_found", "forbidden", None),
]
# Need no more than a session.
OWN = [
    ("/chat/create", {}),
    ("/chat/index", {}),
    ("/group/create", {"name": "g"}),
    ("/group/index", {}),
    ("/user/read", {}),
    ("/user/update", {}),
    ("/user/session", {}),
]
STATUS = {"not_found": 404, "forbidden": 403, "unauthorized": 401}


class People:
    def __init__(self, stack):
        self.stack = stack
        self.tokens, self.ids = {"nobody": None}, {}
        for name in ("owner", "member", "stranger", "other"):
            token, user = stack.signup()
            self.tokens[name], self.ids[name] = token, user["id"]

    def post(self, who, path, form=None):
        return call(self.stack.url, "POST", path, form=form or {}, token=self.tokens[who])

    def done(self, who, path, form=None):
        answer = self.post(who, path, form)
        assert answer.status == 200, answer
        return answer.json

    def chat(self, group=None):
        """A chat of the owner's, with a message; the member is in it, by the group if there is one."""
        chat = self.done("owner", "/chat/create", {"group_id": group} if group else {})["id"]
        if not group:
            self.done("owner", "/chat/user/add", {"id": chat, "user_id": self.ids["member"]})
        message = self.done("owner", "/chat/prompt", {"id": chat, "prompt": "first"})
        return chat, message["message"]["id"]

    def group(self):
        group = self.done("owner", "/group/create", {"name": "group"})["id"]
        self.done("owner", "/group/members/add", {"id": group, "user_ids": self.ids["member"]})
        return group


@pytest.fixture(scope="module")
def people(stack):
    return People(stack)


def fill(form, people, message=""):
    values = {"OTHER": people.ids["other"], "MESSAGE": message}
    return {name: values.get(value, value) for name, value in form.items()}


def check(answer, code):
    if code is None:
        assert answer.status == 200, answer
    else:
        check_error(answer, STATUS[code], code)


@pytest.mark.parametrize("who", ["nobody", "stranger", "member", "owner"])
@pytest.mark.parametrize("kind", ["alone", "in a group"])
def test_chats(people, who, kind):
    group = people.group() if kind == "in a group" else None
    for path, form, *codes in CHAT:
        chat, message = people.chat(group)
        code = dict(zip(("stranger", "member", "owner"), codes), nobody="unauthorized")[who]
        # A chat of another user, an absent one and a made-up id get the same answer.
        form = fill(form, people, message)
        answer = people.post(who, path, {"id": chat, **form})
        check(answer, code)
        if code == "not_found":
            absent = people.post(who, path, {"id": str(uuid.uuid4()), **form})
            assert (absent.status, absent.error) == (answer.status, answer.error), path


@pytest.mark.parametrize("who", ["nobody", "stranger", "member", "owner"])
def test_groups(people, who):
    for path, form, *codes in GROUP:
        group = people.group()
        if path.endswith("remove"):
            people.done("owner", "/group/members/add", {"id": group, "user_ids": people.ids["other"]})
        code = dict(zip(("stranger", "member", "owner"), codes), nobody="unauthorized")[who]
        answer = people.post(who, path, {"id": group, **fill(form, people)})
        check(answer, code)
        if code == "not_found":
            absent = people.post(who, path, {"id": str(uuid.uuid4()), **fill(form, people)})
            assert (absent.status, absent.error) == (answer.status, answer.error), path


@pytest.mark.parametrize("path, form", OWN)
def test_what_needs_a_session_alone(people, path, form):
    check(people.post("nobody", path, form), "unauthorized")
    check(people.post("stranger", path, form), None)


def test_only_members_make_chats_in_a_group(people):
    group = people.group()
    check(people.post("stranger", "/chat/create", {"group_id": group}), "not_found")
    check(people.post("member", "/chat/create", {"group_id": group}), None)


def test_members_leave_by_themselves_and_are_out(people):
    group = people.group()
    chat, _ = people.chat(group)
    theirs = people.done("member", "/chat/create", {"group_id": group})["id"]
    people.done("owner", "/chat/user/add", {"id": chat, "user_id": people.ids["member"]})
    people.done("member", "/group/members/remove", {"id": group, "user_ids": people.ids["member"]})
    for path, form in (("/chat/read", {}), ("/chat/prompt", {"prompt": "x"}), ("/chat/delete", {})):
        for left in (chat, theirs):
            check(people.post("member", path, {"id": left, **form}), "not_found")
    check(people.post("member", "/group/read", {"id": group}), "not_found")
    # The group's owner owns what was left behind.
    check(people.post("owner", "/chat/delete", {"id": theirs}), None)


def test_guests_of_a_group_chat_are_members_of_that_chat_alone(people):
    group = people.group()
    (chat, _), (other, _) = people.chat(group), people.chat(group)
    people.done("owner", "/chat/user/add", {"id": chat, "username": people.ids["stranger"]})
    check(people.post("stranger", "/chat/read", {"id": chat}), None)
    check(people.post("stranger", "/chat/update", {"id": chat, "name": "x"}), "forbidden")
    check(people.post("stranger", "/chat/read", {"id": other}), "not_found")
    check(people.post("stranger", "/group/read", {"id": group}), "not_found")
    people.done("stranger", "/chat/user/remove", {"id": chat, "user_id": people.ids["stranger"]})
    check(people.post("stranger", "/chat/read", {"id": chat}), "not_found")


def test_an_anchor_tells_nothing_of_other_peoples_chats(people):
    chat, message = people.chat()
    for path, anchor in (("/chat/index", chat), ("/chat/index", str(uuid.uuid4()))):
        check_error(people.post("stranger", path, {"before": anchor}), 400, param="before")
    own = people.done("stranger", "/chat/create")["id"]
    for anchor in (message, str(uuid.uuid4())):
        answer = people.post("stranger", "/chat/read", {"id": own, "after": anchor})
        check_error(answer, 400, param="after")
