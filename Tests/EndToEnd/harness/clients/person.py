"""A user with a session, and its calls for chats and groups."""

import concurrent.futures

from client import call


class Person:
    """A user of its own; `at` the address of another front it does the same as the same user."""

    def __init__(self, stack, name=None):
        self.url = stack.url
        self.token, self.user = stack.signup(name)
        self.id, self.name = self.user["id"], self.user["username"]

    def at(self, stack):
        twin = object.__new__(Person)
        twin.__dict__ = dict(self.__dict__, url=stack.url)
        return twin

    def post(self, path, headers=(), timeout=60, **fields):
        """The answer to a form. A list is a field that repeats, a truth value a word."""
        form = []
        for name, value in fields.items():
            values = value if isinstance(value, list) else [value]
            form += [(name, str(one).lower() if isinstance(one, bool) else one) for one in values]
        return call(
            self.url, "POST", path, form=form, token=self.token, headers=headers, timeout=timeout
        )

    def do(self, path, **fields):
        """As `post`, for what must succeed: the answer's JSON."""
        answer = self.post(path, **fields)
        assert answer.status == 200, answer
        return answer.json

    def get(self, target):
        return call(self.url, "GET", target, token=self.token)

    def chat(self, **fields):
        """The id of a new chat."""
        return self.do("/chat/create", **fields)["id"]

    def group(self, *members, name="group"):
        """The id of a new group with these members beside its owner."""
        group = self.do("/group/create", name=name)["id"]
        if members:
            ids = [member.id for member in members]
            self.do("/group/members/add", id=group, user_ids=ids)
        return group

    def prompt(self, chat, prompt, **fields):
        """The message that a prompt became, with its reply."""
        answer = self.do("/chat/prompt", id=chat, prompt=prompt, **fields)
        assert answer["reply"] == answer["message"]["reply"]
        return answer["message"]

    def messages(self, chat, **fields):
        return self.do("/chat/read", id=chat, **fields)["messages"]

    def message(self, chat, id):
        """One message as it is stored now."""
        [found] = [message for message in self.messages(chat) if message["id"] == id]
        return found


def at_once(calls):
    """The results of calls that all run at the same time, in their order."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(120) for future in [pool.submit(each) for each in calls]]
