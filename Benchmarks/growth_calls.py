"""The calls and commands that growth.py measures. A side is one of its two stacks; see growth_data.py for its rows."""

import dataclasses
import json
from collections.abc import Callable

from sse import Stream

# Users who sign up before the rows are made.
PEOPLE = (
    "stranger", "owner", "owner20", "joined", "joined20", "lead", "lead20", "member", "member20", "placed", "writer",
    "devices", "bystander", "changer", "spread", "even", "odd",
)  # fmt: skip
# As many rows as the smaller side has, so that both sides answer with as much.
PAGE = 20
JSON = [("Content-Type", "application/json")]
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "Tell me about Spain."}]}


@dataclasses.dataclass
class Call:
    """One endpoint in one situation. Only `act` is timed; it gets what `prepare` returned."""

    name: str
    act: Callable
    prepare: Callable = None
    finish: Callable = None
    # In each round, on each side.
    count: int = 20
    # Reads by its nature what grows; it must not hold up anybody else, and has no ratio to keep.
    walks: bool = False


def post(label, person, path, expected=200, **form):
    return Call(label, lambda side, _: side.post(person, path, expected, **form))


def get(name, path, person=None, expected=200):
    return Call(name, lambda side, _: side.get(person, path, expected))


def calls():
    yield from accounts()
    yield from sights()
    yield from lists()
    yield from conversations()
    yield from groups()
    yield from others()


def filler(number):
    return f"filler-{number}"


def accounts():
    form = {"username": "writer", "password": "password-1"}
    yield Call("/user/login", lambda side, _: side.post(None, "/user/login", **form), count=6)
    yield Call(
        "/user/signup",
        lambda side, _: side.post(None, "/user/signup", username=f"new-{side.number()}", password="password-1"),
        count=6,
    )
    change = {"old_password": "password-1", "new_password": "password-1"}
    yield Call(
        "/user/password/update", lambda side, _: side.post("changer", "/user/password/update", **change), count=4
    )
    yield Call(
        "/user/logout",
        lambda side, token: side.post(None, "/user/logout", token=token),
        lambda side: side.post(None, "/user/login", **form)["token"],
        count=4,
    )
    yield post("/user/session", "writer", "/user/session")
    yield post("/user/update", "writer", "/user/update", first_name="Ada")
    yield get("a wrong token, /v1/models", "/v1/models", None, 401)


def sights():
    """/user/read: oneself, a known user, and strangers of every kind."""
    for person in ("writer", "owner", "joined", "member"):
        yield post(f"/user/read, oneself: {person}", person, "/user/read")
    known = (
        ("owner", "joined"), ("joined", "owner"), ("lead", "member"), ("member", filler(3)), ("placed", "lead20"),
        ("lead20", "placed"), ("member20", "placed"),
    )  # fmt: skip
    for reader, other in known:
        yield post(f"/user/read, known: {other} by {reader}", reader, "/user/read", username=other)
    many = ("owner", "joined", "joined20", "placed", "member", "lead")
    strangers = [("stranger", other) for other in many] + [(reader, "stranger") for reader in many]
    strangers += [("joined", "joined20"), ("joined20", "joined"), ("joined", "placed"), ("owner", "owner20")]
    strangers += [("joined", "even")]
    for reader, other in strangers:
        yield post(f"/user/read, stranger: {other} by {reader}", reader, "/user/read", 404, username=other)
    # They take turns in chats of one owner: nothing but a look at the places of one of them tells.
    for reader, other in (("even", "odd"), ("odd", "even")):
        label = f"/user/read, stranger in chats beside one's own: {other} by {reader}"
        act = post(label, reader, "/user/read", 404, username=other).act
        yield Call(label, act, count=10, walks=True)
    yield post("/user/read, nobody of this name", "owner", "/user/read", 404, username="nobody")


def lists():
    path = "/chat/index"
    for person in PEOPLE[:10] + ("spread",):
        yield post(f"{path}, {person}", person, path, limit=PAGE)
    middle = {"owner": "own many", "joined": "own many", "member": "group many", "placed": "group some"}
    for person, chats in middle.items():
        for word in ("before", "after"):
            def act(side, _, person=person, chats=chats, word=word):
                first, end = side.world.chats[chats]
                anchor = side.world.chat_identifier((first + end) // 2)
                side.post(person, path, limit=5, **{word: anchor})

            yield Call(f"{path}, {person}, {word} the middle one", act)
    for person, group in (("member", "many"), ("lead", "many"), ("member20", "some"), ("placed", "some")):
        yield Call(
            f"{path} of a group, {person}",
            lambda side, _, person=person, group=group: side.post(
                person, path, limit=PAGE, group_id=side.groups[group]
            ),
        )


def conversations():
    def long(label, path, expected=200, **form):
        return Call(label, lambda side, _: side.post("writer", path, expected, id=side.long, **form))

    yield long("/chat/read, the newest of 100,000 messages", "/chat/read", limit=PAGE)

    def from_middle(side, word):
        number = side.world.round_robin + side.world.sizes["long"] // 2
        anchor = side.world.message_identifier(number)
        side.post("writer", "/chat/read", id=side.long, limit=PAGE, **{word: anchor})

    for word in ("before", "after"):
        yield Call(f"/chat/read, {word} the middle one of 100,000", lambda side, _, word=word: from_middle(side, word))

    def chat_of(side, chats):
        return side.world.chat_identifier(side.world.chats[chats][0] + 3)

    for person, chats in (("owner", "own many"), ("joined", "own many"), ("member", "group many"),
                          ("placed", "group some")):  # fmt: skip
        yield Call(
            f"/chat/read, a chat of many: {person}",
            lambda side, _, person=person, chats=chats: side.post(person, "/chat/read", id=chat_of(side, chats)),
        )
    yield Call(
        "/chat/read, none of one's own: stranger",
        lambda side, _: side.post("stranger", "/chat/read", 404, id=chat_of(side, "own many")),
    )
    yield post("/chat/create, owner", "owner", "/chat/create", name="chat")
    yield Call(
        "/chat/create in a group, member",
        lambda side, _: side.post("member", "/chat/create", group_id=side.groups["many"]),
    )
    yield Call(
        "/chat/update, owner",
        lambda side, _: side.post("owner", "/chat/update", id=chat_of(side, "own many"), name="x"),
    )
    yield Call(
        "/chat/user/add, owner",
        lambda side, _: side.post("owner", "/chat/user/add", id=chat_of(side, "own many"), username="stranger"),
        finish=lambda side, _: side.post(
            "owner", "/chat/user/remove", id=chat_of(side, "own many"), username="stranger"
        ),
    )
    yield Call(
        "/chat/user/remove, owner",
        lambda side, _: side.post("owner", "/chat/user/remove", id=chat_of(side, "own many"), username="stranger"),
        lambda side: side.post("owner", "/chat/user/add", id=chat_of(side, "own many"), username="stranger"),
    )
    yield Call(
        "/chat/delete, owner",
        lambda side, chat: side.post("owner", "/chat/delete", id=chat),
        lambda side: side.post("owner", "/chat/create")["id"],
    )
    yield long("/chat/prompt, behind 100,000 messages", "/chat/prompt", prompt="Hello")
    yield long("/chat/prompt, off the record", "/chat/prompt", prompt="Hello", otr="true")
    yield Call(
        "/chat/prompt, context not in memory",
        lambda side, chat: side.post("owner", "/chat/prompt", id=chat, prompt="Hello"),
        lambda side: side.world.chat_identifier(side.world.chats["own many"][0] + side.number() % 90),
    )
    yield Call(
        "/chat/prompt in a group, member",
        lambda side, _: side.post("member", "/chat/prompt", id=chat_of(side, "group many"), prompt="Hello"),
    )
    yield Call(
        "/chat/prompt, its Idempotency-Key known",
        lambda side, _: side.post(
            "writer", "/chat/prompt", id=side.short, prompt="Hello", headers=[("Idempotency-Key", "known")]
        ),
    )
    yield Call(
        "/chat/prompt, stream=true",
        lambda side, _: side.post("writer", "/chat/prompt", id=side.short, prompt="Hello", stream="true")["message"],
        finish=wait_for_end,
    )
    yield Call(
        "/chat/stop, a message that has ended",
        lambda side, message: side.post("writer", "/chat/stop", id=side.short, message_id=message),
        lambda side: newest(side)["id"],
    )


def newest(side):
    return side.post("writer", "/chat/read", id=side.short, limit=1)["messages"][0]


def wait_for_end(side, _):
    while newest(side)["state"] in ("pending", "streaming"):
        pass


def groups():
    yield Call(
        "/group/create, lead",
        lambda side, _: side.post("lead", "/group/create", name="group")["id"],
    )
    yield Call(
        "/group/delete, lead",
        lambda side, group: side.post("lead", "/group/delete", id=group),
        lambda side: side.post("lead", "/group/create", name="group")["id"],
    )

    def of_group(label, path, person="lead", group="many", **form):
        return Call(label, lambda side, _: side.post(person, path, id=side.groups[group], **form))

    yield of_group("/group/read, member", "/group/read", "member", limit=5)
    yield of_group("/group/members, member", "/group/members", "member", limit=5)
    yield of_group("/group/update, lead", "/group/update", description="Another.")
    yield post("/group/index, stranger", "stranger", "/group/index")
    yield post("/group/index, member", "member", "/group/index")
    remove = {"path": "/group/members/remove", "user_ids": "stranger"}
    add = {"path": "/group/members/add", "user_ids": "stranger"}

    def change(side, path, user_ids):
        side.post("lead", path, id=side.groups["many"], user_ids=user_ids)

    yield Call(
        "/group/members/add, lead", lambda side, _: change(side, **add), finish=lambda side, _: change(side, **remove)
    )
    yield Call("/group/members/remove, lead", lambda side, _: change(side, **remove), lambda side: change(side, **add))
    for person in ("joined", "owner"):
        name = f"/group/members/remove, of a small group: {person}"
        yield Call(
            name,
            lambda side, group, person=person: side.post(
                "stranger", "/group/members/remove", id=group, user_ids=person
            ),
            lambda side, person=person: small_group(side, person),
            lambda side, group: side.post("stranger", "/group/delete", id=group),
        )


def small_group(side, person):
    group = side.post("stranger", "/group/create", name="small")["id"]
    side.post("stranger", "/group/members/add", id=group, user_ids=person)
    return group


def others():
    body = json.dumps(CHAT).encode()
    streamed = json.dumps({**CHAT, "model": "mock?chunks=5", "stream": True}).encode()
    yield Call("/v1/chat/completions", lambda side, _: side.send("writer", "/v1/chat/completions", body, JSON))
    yield Call(
        "/v1/chat/completions, streamed", lambda side, _: side.send("writer", "/v1/chat/completions", streamed, JSON)
    )
    yield get("/v1/models", "/v1/models", "writer")

    def subscribe(side, chat, person):
        with Stream(side.url, chat, side.tokens[person]) as stream:
            stream.begin()

    yield Call("/chat/stream, to its first id: writer", lambda side, _: subscribe(side, side.long, "writer"))
    yield Call(
        "/chat/stream, to its first id: member",
        lambda side, _: subscribe(side, side.world.chat_identifier(side.world.chats["group many"][0] + 3), "member"),
    )

    def before_a_message(side):
        with Stream(side.url, side.long, side.tokens["writer"]) as stream:
            place = stream.begin().last_id
        side.post("writer", "/chat/prompt", id=side.long, prompt="Hello")
        return place

    def resume(side, place):
        with Stream(side.url, side.long, side.tokens["writer"], headers=[("Last-Event-ID", place)]) as stream:
            stream.finished()

    yield Call("/chat/stream, resumed by Last-Event-ID, to the missed end", resume, before_a_message, count=10)

    def start_over(side, _):
        headers = [("Last-Event-ID", "0-0")]
        with Stream(side.url, side.short, side.tokens["writer"], headers=headers) as stream:
            stream.finished(5)

    yield Call("/chat/stream, an unknown id, to the fifth message", start_over, count=10)
    for path in ("/live", "/ready", "/ready/streamer", "/metrics", "/status?full"):
        yield get(path, path)


def backup_of(side):
    return side.stack.state_directory + "/backup"


def backup(side):
    return None if side.stack.server else ("backup", "--force", backup_of(side))


# Names with arguments; the last says that all rows of a kind are read by the command's nature.
COMMANDS = (
    ("user NAME, 100,000 chats", ("user", "owner"), False),
    ("user NAME, 20,000 sessions", ("user", "devices"), False),
    ("sessions list NAME", ("sessions", "list", "writer"), False),
    ("chats", ("chats",), False),
    ("chats --user, of 20", ("chats", "--user", "stranger"), False),
    ("chats --user, of 100,000", ("chats", "--user", "owner", "--limit", "50"), False),
    ("chats --group", lambda side: ("chats", "--group", side.groups["many"], "--limit", "50"), False),
    ("messages CHAT, the newest of 100,000", lambda side: ("messages", side.long, "--limit", "50"), False),
    ("events", ("events",), False),
    ("events --limit 20 --type forward", ("events", "--limit", "20", "--type", "forward"), False),
    ("events --user, the most active", ("events", "--limit", "20", "--user", "filler-0"), False),
    ("config", ("config",), False),
    ("retention, nothing old", ("retention",), True),
    ("list", ("list",), True),
    ("sessions list", ("sessions", "list"), True),
    ("events --since 24h --format jsonl", ("events", "--since", "24h", "--format", "jsonl"), True),
    ("events --user, one without any", ("events", "--user", "placed"), True),
    ("events --format csv", ("events", "--format", "csv"), True),
    ("usage --since 1d", ("usage", "--since", "1d", "--by", "model"), True),
    ("usage --since 400d", ("usage", "--since", "400d", "--by", "model"), True),
    ("doctor", ("doctor",), True),
    ("backup", backup, True),
)

# Each once; the rows of the later ones must still be there.
DELETIONS = (
    ("/user/password/update of a user with 20,000 sessions", lambda side: change_password(side)),
    ("/group/members/remove of a member with 20,000 places", lambda side: remove_placed(side)),
    ("/chat/delete, 100,000 messages", lambda side: side.post("writer", "/chat/delete", id=side.long)),
    ("/group/delete, 20,000 chats", lambda side: side.post("lead20", "/group/delete", id=side.groups["some"])),
    ("/group/delete, 100,000 chats", lambda side: side.post("lead", "/group/delete", id=side.groups["many"])),
    ("delete NAME, places in 100,000 chats", lambda side: delete_user(side, "joined")),
    ("delete NAME, 100,000 chats", lambda side: delete_user(side, "owner")),
)


def change_password(side):
    form = {"old_password": "password-1", "new_password": "password-2"}
    side.post("devices", "/user/password/update", **form)


def remove_placed(side):
    side.post("lead20", "/group/members/remove", id=side.groups["some"], user_ids="placed")


def delete_user(side, name):
    side.command("delete", "--yes", name)
