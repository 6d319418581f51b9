"""What the server answers with. Fields that a later server adds are ignored."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Type, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class User:
    """A user. Of other users only the names are known."""

    id: str
    username: str
    first_name: str = ""
    last_name: str = ""
    role: Optional[str] = None
    created_at: Optional[str] = None
    updated_at: Optional[str] = None
    groups: Optional[List[str]] = None


@dataclasses.dataclass(frozen=True)
class Login:
    """The answer to a sign-up or a log-in. The client uses the token from then on."""

    token: str = dataclasses.field(repr=False)
    user: User


@dataclasses.dataclass(frozen=True)
class SessionInfo:
    """A session of a user."""

    id: str
    created_at: str
    last_used_at: str
    expires_at: str


@dataclasses.dataclass(frozen=True)
class CurrentSession:
    """The user whose token the client has, and its session."""

    user: User
    session: SessionInfo


@dataclasses.dataclass(frozen=True)
class Chat:
    """A chat."""

    id: str
    name: str
    model: str
    user_id: str
    group_id: Optional[str] = None
    created_at: Optional[str] = None
    updated_at: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Message:
    """A prompt and its reply. `state` is pending, streaming, done, stopped or failed.

    In a partial frame `reply` is the delta, and only the ids, the state and a short prompt are known beside it.
    """

    id: str
    chat_id: str
    user_id: str
    reply: str
    state: str
    prompt: Optional[str] = None
    username: Optional[str] = None
    group_id: Optional[str] = None
    model: Optional[str] = None
    otr: bool = False
    error: Optional[Dict[str, Any]] = None
    usage: Optional[Dict[str, Optional[int]]] = None
    created_at: Optional[str] = None
    updated_at: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of users."""

    id: str
    name: str
    description: str
    owner_id: str
    created_at: Optional[str] = None
    updated_at: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answer to a prompt."""

    message: Message
    reply: str


@dataclasses.dataclass(frozen=True)
class Delta:
    """New text of a streamed reply. `message` has the text so far; with `done` it is the message as it is stored."""

    text: str
    message: Message
    done: bool


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame of a chat's stream: of the kind `message`, or `reset`, after which the newest messages come anew."""

    kind: str
    id: Optional[str]
    message: Optional[Message] = None
    partial: bool = False


@dataclasses.dataclass(frozen=True)
class ChatPage:
    """A page of chats, oldest first."""

    chats: List[Chat]
    has_more: bool


@dataclasses.dataclass(frozen=True)
class ChatDetails:
    """A chat, the users who were added to it, and a page of its messages, oldest first."""

    chat: Chat
    users: List[User]
    messages: List[Message]
    has_more: bool


@dataclasses.dataclass(frozen=True)
class GroupPage:
    """A page of groups, oldest first."""

    groups: List[Group]
    has_more: bool


@dataclasses.dataclass(frozen=True)
class GroupDetails:
    """A group and a page of its members."""

    group: Group
    members: List[User]
    has_more: bool


@dataclasses.dataclass(frozen=True)
class UserPage:
    """A page of users."""

    users: List[User]
    has_more: bool


@dataclasses.dataclass(frozen=True)
class OpenAISettings:
    """The address and key for OpenAI's own client."""

    base_url: str
    api_key: str = dataclasses.field(repr=False)


def build(kind: Type[T], value: Mapping[str, Any]) -> T:
    """An object of that kind out of the server's, or a KeyError where a field is missing."""
    arguments = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in value:
            arguments[field.name] = value[field.name]
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise KeyError(field.name)
    return kind(**arguments)


def build_all(kind: Type[T], values: List[Mapping[str, Any]]) -> List[T]:
    """The same for a list."""
    return [build(kind, value) for value in values]
