"""A client of Proxy GPT: `Client` for threads, `AsyncClient` for asyncio."""

from .aio import AsyncClient
from .client import Client
from .errors import ProxyGPTError
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
    OpenAISettings,
    Reply,
    SessionInfo,
    User,
    UserPage,
)
from .version import __version__

__all__ = [
    "AsyncClient",
    "Chat",
    "ChatDetails",
    "ChatPage",
    "Client",
    "CurrentSession",
    "Delta",
    "Frame",
    "Group",
    "GroupDetails",
    "GroupPage",
    "Login",
    "Message",
    "OpenAISettings",
    "ProxyGPTError",
    "Reply",
    "SessionInfo",
    "User",
    "UserPage",
    "__version__",
]
