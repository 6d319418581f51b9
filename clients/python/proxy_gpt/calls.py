"""The calls of the API, as values; and the plans of streams."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any, Callable, Dict, Optional, Sequence, Type, TypeVar

from .errors import ProxyGPTError, error_of_reply
from .http import Request
from .models import (
    Chat,
    ChatDetails,
    ChatPage,
    CurrentSession,
    Delta,
    Frame,
    Group,
    GroupDetails,
    GroupPage,
    Login,
    Message,
    Reply,
    SessionInfo,
    User,
    UserPage,
    build,
    build_all,
)
from .plans import Aborted, Call, Item, MessageFrame, Plan, Session, Subscription, Transcript, frame_of, pages

T = TypeVar("T")

# Final frames of so many messages are remembered, since a resumed stream may repeat one.
REMEMBERED_ENDS = 1000
# Seconds that a caller who leaves waits for the reply to be stopped.
STOP_TIMEOUT = 5.0


def _given(**fields: Any) -> Dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _read(path: str, parse: Callable[[Any], T], **fields: Any) -> Call[T]:
    return Call(Request(path, _given(**fields)), parse, may_repeat=True)


def _change(path: str, parse: Callable[[Any], T], **fields: Any) -> Call[T]:
    return Call(Request(path, _given(**fields)), parse)


def _nothing(_: Any) -> None:
    return None


def _one(kind: Type[T]) -> Callable[[Any], T]:
    return lambda value: build(kind, value)


# Users


def _login(value: Any) -> Login:
    return Login(str(value["token"]), build(User, value["user"]))


def sign_up(
    session: Session, username: str, password: str, first_name: Optional[str], last_name: Optional[str]
) -> Plan[Login]:
    fields = {"username": username, "password": password, "first_name": first_name, "last_name": last_name}
    return _begin(session, "/user/signup", fields)


def log_in(session: Session, username: str, password: str) -> Plan[Login]:
    return _begin(session, "/user/login", {"username": username, "password": password})


def _begin(session: Session, path: str, fields: Dict[str, Any]) -> Plan[Login]:
    call = dataclasses.replace(_change(path, _login, **fields), has_token=False)
    login = yield from session.perform(call)
    session.token = login.token
    return login


def log_out(session: Session) -> Plan[None]:
    try:
        yield from session.perform(_change("/user/logout", _nothing))
    except ProxyGPTError as error:
        # The session had ended before.
        if error.status != 401:
            raise
    session.token = None


def read_session() -> Call[CurrentSession]:
    def parse(value: Any) -> CurrentSession:
        return CurrentSession(build(User, value["user"]), build(SessionInfo, value["session"]))

    return _read("/user/session", parse)


def read_user(id: Optional[str], username: Optional[str]) -> Call[User]:
    return _read("/user/read", _one(User), id=id, username=username)


def update_user(username: Optional[str], first_name: Optional[str], last_name: Optional[str]) -> Call[User]:
    return _change("/user/update", _one(User), username=username, first_name=first_name, last_name=last_name)


def change_password(old: str, new: str) -> Call[None]:
    return _change("/user/password/update", _nothing, old_password=old, new_password=new)


# Chats


def create_chat(name: Optional[str], model: Optional[str], group_id: Optional[str]) -> Call[Chat]:
    return _change("/chat/create", _one(Chat), name=name, model=model, group_id=group_id)


def list_chats(
    group_id: Optional[str], limit: Optional[int], before: Optional[str], after: Optional[str]
) -> Call[ChatPage]:
    def parse(value: Any) -> ChatPage:
        return ChatPage(build_all(Chat, value["chats"]), bool(value["has_more"]))

    return _read("/chat/index", parse, group_id=group_id, limit=limit, before=before, after=after)


def all_chats(session: Session, group_id: Optional[str], limit: Optional[int]) -> Plan[None]:
    return pages(session, lambda before: list_chats(group_id, limit, before, None), lambda page: page.chats)


def read_chat(id: str, limit: Optional[int], before: Optional[str], after: Optional[str]) -> Call[ChatDetails]:
    def parse(value: Any) -> ChatDetails:
        users, messages = build_all(User, value["users"]), build_all(Message, value["messages"])
        return ChatDetails(build(Chat, value["chat"]), users, messages, bool(value["has_more"]))

    return _read("/chat/read", parse, id=id, limit=limit, before=before, after=after)


def all_messages(session: Session, id: str, limit: Optional[int]) -> Plan[None]:
    return pages(session, lambda before: read_chat(id, limit, before, None), lambda page: page.messages)


def update_chat(id: str, name: Optional[str], model: Optional[str]) -> Call[Chat]:
    return _change("/chat/update", _one(Chat), id=id, name=name, model=model)


def delete_chat(id: str) -> Call[None]:
    return _change("/chat/delete", _nothing, id=id)


def add_chat_user(id: str, user: str) -> Call[None]:
    return _change("/chat/user/add", _nothing, id=id, user_id=user)


def remove_chat_user(id: str, user: str) -> Call[None]:
    return _change("/chat/user/remove", _nothing, id=id, user_id=user)


def _reply(value: Any) -> Reply:
    return Reply(build(Message, value["message"]), value["reply"])


def prompt(
    id: str, text: str, context: Optional[int], otr: Optional[bool], stream: Optional[bool], key: Optional[str]
) -> Call[Reply]:
    """A prompt. Its key lets it be sent again without a second call of the model."""
    fields = _given(id=id, prompt=text, context=context, otr=otr or None, stream=stream)
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    return Call(Request("/chat/prompt", fields, headers), _reply, may_repeat=True)


def stop(id: str, message_id: str) -> Call[Reply]:
    return _change("/chat/stop", _reply, id=id, message_id=message_id)


# Groups


def create_group(name: str, description: Optional[str]) -> Call[Group]:
    return _change("/group/create", _one(Group), name=name, description=description)


def list_groups(limit: Optional[int], before: Optional[str], after: Optional[str]) -> Call[GroupPage]:
    def parse(value: Any) -> GroupPage:
        return GroupPage(build_all(Group, value["groups"]), bool(value["has_more"]))

    return _read("/group/index", parse, limit=limit, before=before, after=after)


def all_groups(session: Session, limit: Optional[int]) -> Plan[None]:
    return pages(session, lambda before: list_groups(limit, before, None), lambda page: page.groups)


def read_group(id: str, limit: Optional[int], before: Optional[str], after: Optional[str]) -> Call[GroupDetails]:
    def parse(value: Any) -> GroupDetails:
        return GroupDetails(build(Group, value["group"]), build_all(User, value["members"]), bool(value["has_more"]))

    return _read("/group/read", parse, id=id, limit=limit, before=before, after=after)


def update_group(id: str, name: Optional[str], description: Optional[str], owner_id: Optional[str]) -> Call[Group]:
    return _change("/group/update", _one(Group), id=id, name=name, description=description, owner_id=owner_id)


def delete_group(id: str) -> Call[None]:
    return _change("/group/delete", _nothing, id=id)


def list_members(id: str, limit: Optional[int], before: Optional[str], after: Optional[str]) -> Call[UserPage]:
    def parse(value: Any) -> UserPage:
        return UserPage(build_all(User, value["users"]), bool(value["has_more"]))

    return _read("/group/members", parse, id=id, limit=limit, before=before, after=after)


def all_members(session: Session, id: str, limit: Optional[int]) -> Plan[None]:
    return pages(session, lambda before: list_members(id, limit, before, None), lambda page: page.users)


def add_members(id: str, users: Sequence[str]) -> Call[None]:
    return _change("/group/members/add", _nothing, id=id, user_ids=list(users))


def remove_members(id: str, users: Sequence[str]) -> Call[None]:
    return _change("/group/members/remove", _nothing, id=id, user_ids=list(users))


# Streams


def stream(session: Session, chat_id: str, text: str, context: Optional[int], key: Optional[str]) -> Plan[None]:
    """Prompts, and hands out the deltas of the reply. A caller who leaves stops the reply."""
    call = prompt(chat_id, text, context, None, True, key)
    subscription, transcript = Subscription(session, chat_id), Transcript()
    has_reply, message_id = False, ""
    try:
        # Before the prompt: from the place that comes first on no frame can be missed, whatever is cut.
        yield from subscription.begin()
        has_reply = True
        message = (yield from session.perform(call)).message
        message_id = message.id
        # A key that was used before brings a reply that may have ended.
        frame = None if _is_running(message) else MessageFrame(message, False)
        while frame is None or frame.is_partial:
            event = yield from subscription.next()
            frame = None
            if event.name == "reset":
                transcript.start_over()
                frame = yield from _end_of(session, chat_id, message_id)
            elif event.is_frame:
                frame = frame_of(event)
            if frame is None or frame.message.id != message_id:
                frame = None
            elif frame.is_partial:
                delta = transcript.add(frame.message.reply)
                message = dataclasses.replace(message, state=frame.message.state, reply=transcript.text)
                if delta:
                    yield Item(Delta(delta, message, False))
        # A caller who leaves from here on has nothing to stop.
        has_reply = False
        message, delta = frame.message, transcript.complete(frame.message.reply)
        is_failed = message.state == "failed"
        if delta or not is_failed:
            yield Item(Delta(delta, message, not is_failed))
        if is_failed:
            raise error_of_reply(message.error)
    except Aborted:
        if has_reply:
            yield from _stop(session, call, chat_id, message_id)
        raise
    finally:
        subscription.close()


def _is_running(message: Message) -> bool:
    return message.state in ("pending", "streaming")


def _end_of(session: Session, chat_id: str, message_id: str) -> Plan[Optional[MessageFrame]]:
    """The final frame of a message that has ended. A server that starts over repeats the newest messages alone."""
    before: Optional[str] = None
    while True:
        page = yield from session.perform(read_chat(chat_id, None, before, None))
        for message in page.messages:
            if message.id == message_id:
                return None if _is_running(message) else MessageFrame(message, False)
        # Ids grow with time.
        if not page.has_more or not page.messages or page.messages[0].id < message_id:
            return None
        before = page.messages[0].id


def _stop(session: Session, call: Call[Reply], chat_id: str, message_id: str) -> Plan[None]:
    """Stops a reply whose caller has left, as well as that can be done."""
    try:
        if not message_id:
            # The answer to the prompt did not come: with the same key it is the same message.
            once = dataclasses.replace(call, may_repeat=False)
            message_id = (yield from session.perform(once, STOP_TIMEOUT)).message.id
        yield from session.perform(stop(chat_id, message_id), STOP_TIMEOUT)
    except ProxyGPTError:
        pass


def watch(session: Session, chat_id: str, after: Optional[str]) -> Plan[None]:
    """Hands out the frames of a chat until its caller leaves, or the right to read it ends."""
    subscription = Subscription(session, chat_id, after)
    ends: Dict[str, int] = {}
    try:
        while True:
            event = yield from subscription.next()
            if event.name == "reset":
                ends.clear()
                yield Item(Frame("reset", event.id))
            elif event.is_frame:
                frame, digest = frame_of(event), hash(event.data)
                message = frame.message
                if not frame.is_partial:
                    # A message that ran again has another end.
                    if ends.get(message.id) == digest:
                        continue
                    ends[message.id] = digest
                    if len(ends) > REMEMBERED_ENDS:
                        del ends[next(iter(ends))]
                yield Item(Frame("message", event.id, message, frame.is_partial))
    finally:
        subscription.close()
