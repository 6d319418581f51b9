"""The client of asyncio."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Any, AsyncGenerator, Awaitable, Callable, Optional, Sequence, Type, TypeVar, Union

from . import calls
from .errors import connection_error, error_of_system
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
    User,
    UserPage,
)
from .plans import Do, Item, Plan, Session, Steps
from .pool import Pool, PooledConnection
from .version import __version__

T = TypeVar("T")


class _AsyncConnection(PooledConnection):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pool: Pool[Any]) -> None:
        super().__init__(pool)
        self.reader = reader
        self.writer = writer

    def fileno(self) -> int:
        if self.writer.is_closing() or self.reader.at_eof():
            return -1
        number: int = self.writer.get_extra_info("socket").fileno()
        return number

    def close(self) -> None:
        self.writer.close()


class _AsyncDriver:
    """Does what plans ask for, on the loop that runs."""

    def __init__(self, session: Session, context: Optional[ssl.SSLContext]) -> None:
        self.session = session
        self._pool: Pool[_AsyncConnection] = Pool()
        self._context = context
        if session.address.is_tls and context is None:
            self._context = ssl.create_default_context()

    async def run(self, plan: Plan[T]) -> T:
        """Runs a plan to its end."""
        steps: Steps[T] = Steps(plan)
        step = steps.begin()
        while step is not None:
            try:
                value = await self._do(step)
            except BaseException as error:
                step = steps.fail(error)
            else:
                step = steps.go_on(value)
        result: T = steps.result
        return result

    async def iterate(self, plan: Plan[None]) -> AsyncGenerator[Any, None]:
        """Runs a plan and yields its items. What ends the generator early ends the plan too."""
        steps: Steps[None] = Steps(plan)
        step = steps.begin()
        while step is not None:
            value = None
            try:
                if isinstance(step, Item):
                    yield step.value
                else:
                    value = await self._do(step)
            except BaseException as error:
                step = steps.fail(error)
            else:
                step = steps.go_on(value)

    def close(self) -> None:
        self._pool.close()

    async def _do(self, step: Union[Do, Item]) -> Any:
        assert isinstance(step, Do)
        try:
            return await getattr(self, step.action)(*step.arguments)
        except OSError as error:
            raise error_of_system(error) from None

    # What plans ask for

    async def dial(self, timeout: float, may_reuse: bool) -> _AsyncConnection:
        kept = self._pool.take() if may_reuse else None
        if kept:
            return kept
        address = self.session.address
        context = self._context if address.is_tls else None
        opening = asyncio.ensure_future(asyncio.open_connection(address.host, address.port, ssl=context))
        try:
            await asyncio.wait({opening}, timeout=timeout)
        except BaseException:
            # The caller has left, perhaps at the moment at which the connection was there.
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result()[1].close()
            opening.cancel()
            raise
        if not opening.done():
            opening.cancel()
            raise connection_error("it did not answer in time")
        reader, writer = opening.result()
        return _AsyncConnection(reader, writer, self._pool)

    async def write(self, connection: _AsyncConnection, data: bytes, timeout: float) -> None:
        connection.writer.write(data)
        await self._within(timeout, connection, connection.writer.drain)

    async def read(self, connection: _AsyncConnection, timeout: float) -> bytes:
        return await self._within(timeout, connection, lambda: connection.reader.read(65536))

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _within(
        self, timeout: float, connection: _AsyncConnection, action: Callable[[], Awaitable[T]]
    ) -> T:
        """Ends what takes too long by ending its connection: so no cancellation can get lost."""
        is_late = False

        def end() -> None:
            nonlocal is_late
            is_late = True
            connection.writer.transport.abort()

        timer = asyncio.get_running_loop().call_later(max(timeout, 0.001), end)
        try:
            result = await action()
        finally:
            timer.cancel()
        if is_late:
            raise connection_error("it did not answer in time")
        return result


class AsyncUsers:
    """`client.users`"""

    def __init__(self, driver: _AsyncDriver) -> None:
        self._driver, self._session = driver, driver.session

    async def sign_up(
        self, username: str, password: str, *, first_name: Optional[str] = None, last_name: Optional[str] = None
    ) -> Login:
        """Makes a user. The client uses its token from then on."""
        return await self._driver.run(calls.sign_up(self._session, username, password, first_name, last_name))

    async def log_in(self, username: str, password: str) -> Login:
        """Begins a session. The client uses its token from then on."""
        return await self._driver.run(calls.log_in(self._session, username, password))

    async def log_out(self) -> None:
        """Ends the session, and drops the token."""
        await self._driver.run(calls.log_out(self._session))

    async def session(self) -> CurrentSession:
        """The user of the token, and the session."""
        return await self._driver.run(self._session.perform(calls.read_session()))

    async def read(self, id: Optional[str] = None, *, username: Optional[str] = None) -> User:
        """A user whom one shares a chat or group with; oneself by default."""
        return await self._driver.run(self._session.perform(calls.read_user(id, username)))

    async def update(
        self, *, username: Optional[str] = None, first_name: Optional[str] = None, last_name: Optional[str] = None
    ) -> User:
        """Changes what is given of oneself."""
        return await self._driver.run(self._session.perform(calls.update_user(username, first_name, last_name)))

    async def change_password(self, old_password: str, new_password: str) -> None:
        """Changes the password, and ends all other sessions."""
        await self._driver.run(self._session.perform(calls.change_password(old_password, new_password)))


class AsyncChats:
    """`client.chats`"""

    def __init__(self, driver: _AsyncDriver) -> None:
        self._driver, self._session = driver, driver.session

    async def create(
        self, *, name: Optional[str] = None, model: Optional[str] = None, group_id: Optional[str] = None
    ) -> Chat:
        """Makes a chat."""
        return await self._driver.run(self._session.perform(calls.create_chat(name, model, group_id)))

    async def list(
        self,
        *,
        group_id: Optional[str] = None,
        limit: Optional[int] = None,
        before: Optional[str] = None,
        after: Optional[str] = None,
    ) -> ChatPage:
        """A page of the chats that one may read: the newest unless `before` or `after` names a chat."""
        return await self._driver.run(self._session.perform(calls.list_chats(group_id, limit, before, after)))

    def list_all(
        self, *, group_id: Optional[str] = None, limit: Optional[int] = None
    ) -> AsyncGenerator[Chat, None]:
        """All of them, the newest first; `limit` is the size of a page."""
        return self._driver.iterate(calls.all_chats(self._session, group_id, limit))

    async def read(
        self,
        id: str,
        *,
        limit: Optional[int] = None,
        before: Optional[str] = None,
        after: Optional[str] = None,
    ) -> ChatDetails:
        """A chat, its users and a page of its messages."""
        return await self._driver.run(self._session.perform(calls.read_chat(id, limit, before, after)))

    def messages_all(self, id: str, *, limit: Optional[int] = None) -> AsyncGenerator[Message, None]:
        """All messages of a chat, the newest first."""
        return self._driver.iterate(calls.all_messages(self._session, id, limit))

    async def update(self, id: str, *, name: Optional[str] = None, model: Optional[str] = None) -> Chat:
        """Changes what is given of a chat."""
        return await self._driver.run(self._session.perform(calls.update_chat(id, name, model)))

    async def delete(self, id: str) -> None:
        """Deletes a chat with its messages."""
        await self._driver.run(self._session.perform(calls.delete_chat(id)))

    async def add_user(self, id: str, user: str) -> None:
        """Lets a user into a chat, by id or name."""
        await self._driver.run(self._session.perform(calls.add_chat_user(id, user)))

    async def remove_user(self, id: str, user: str) -> None:
        """Takes a user out of a chat, or oneself, by id or name."""
        await self._driver.run(self._session.perform(calls.remove_chat_user(id, user)))

    async def prompt(
        self,
        id: str,
        text: str,
        *,
        context: Optional[int] = None,
        otr: bool = False,
        idempotency_key: Optional[str] = None,
    ) -> Reply:
        """Prompts, and waits for the whole reply. With `otr` the text is stored and no model is told."""
        call = calls.prompt(id, text, context, otr, None, idempotency_key)
        return await self._driver.run(self._session.perform(call))

    def stream(
        self, id: str, text: str, *, context: Optional[int] = None, idempotency_key: Optional[str] = None
    ) -> AsyncGenerator[Delta, None]:
        """Prompts, and yields the reply as it comes.

        Cancelling the task and closing the generator, with `aclose`, stop the reply. A reply that fails is a
        ProxyGPTError after the deltas that came; one that was stopped ends as usual, with the state `stopped` in its
        message.
        """
        return self._driver.iterate(calls.stream(self._session, id, text, context, idempotency_key))

    def watch(self, id: str, *, after: Optional[str] = None) -> AsyncGenerator[Frame, None]:
        """Yields the frames of a chat, for all its messages, for ever; after the one with the id `after`."""
        return self._driver.iterate(calls.watch(self._session, id, after))

    async def stop(self, id: str, message_id: str) -> Reply:
        """Ends a running reply, and answers with what it has so far."""
        return await self._driver.run(self._session.perform(calls.stop(id, message_id)))


class AsyncGroups:
    """`client.groups`"""

    def __init__(self, driver: _AsyncDriver) -> None:
        self._driver, self._session = driver, driver.session

    async def create(self, name: str, *, description: Optional[str] = None) -> Group:
        """Makes a group, with oneself as its owner and first member."""
        return await self._driver.run(self._session.perform(calls.create_group(name, description)))

    async def list(
        self, *, limit: Optional[int] = None, before: Optional[str] = None, after: Optional[str] = None
    ) -> GroupPage:
        """A page of the groups that one is a member of."""
        return await self._driver.run(self._session.perform(calls.list_groups(limit, before, after)))

    def list_all(self, *, limit: Optional[int] = None) -> AsyncGenerator[Group, None]:
        """All of them, the newest first."""
        return self._driver.iterate(calls.all_groups(self._session, limit))

    async def read(
        self,
        id: str,
        *,
        limit: Optional[int] = None,
        before: Optional[str] = None,
        after: Optional[str] = None,
    ) -> GroupDetails:
        """A group and a page of its members."""
        return await self._driver.run(self._session.perform(calls.read_group(id, limit, before, after)))

    async def update(
        self,
        id: str,
        *,
        name: Optional[str] = None,
        description: Optional[str] = None,
        owner_id: Optional[str] = None,
    ) -> Group:
        """Changes what is given of a group; `owner_id` hands it on."""
        call = calls.update_group(id, name, description, owner_id)
        return await self._driver.run(self._session.perform(call))

    async def delete(self, id: str) -> None:
        """Deletes a group with its chats."""
        await self._driver.run(self._session.perform(calls.delete_group(id)))

    async def members(
        self,
        id: str,
        *,
        limit: Optional[int] = None,
        before: Optional[str] = None,
        after: Optional[str] = None,
    ) -> UserPage:
        """A page of the members of a group."""
        return await self._driver.run(self._session.perform(calls.list_members(id, limit, before, after)))

    def members_all(self, id: str, *, limit: Optional[int] = None) -> AsyncGenerator[User, None]:
        """All members of a group."""
        return self._driver.iterate(calls.all_members(self._session, id, limit))

    async def add_members(self, id: str, users: Sequence[str]) -> None:
        """Makes users members, by their ids or names: all of them or none."""
        await self._driver.run(self._session.perform(calls.add_members(id, users)))

    async def remove_members(self, id: str, users: Sequence[str]) -> None:
        """Ends the membership of users: of all of them or none."""
        await self._driver.run(self._session.perform(calls.remove_members(id, users)))


class AsyncClient:
    """A client of one server, with the token of one user. Tasks of one loop may share it.

    `timeout` is for calls whose answer is awaited, in seconds; streams end by silence alone. `max_retries` is for
    reads and prompts, which may be repeated safely. `ssl_context` is for servers with certificates of your own.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Optional[str] = None,
        timeout: float = 600.0,
        max_retries: int = 2,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        self._session = Session(url, token, timeout, max_retries, f"proxy-gpt-python/{__version__}")
        self._driver = _AsyncDriver(self._session, ssl_context)
        self.users = AsyncUsers(self._driver)
        self.chats = AsyncChats(self._driver)
        self.groups = AsyncGroups(self._driver)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections that are idle."""
        self._driver.close()

    @property
    def token(self) -> Optional[str]:
        """The token of the session; None before a log-in and after a log-out."""
        return self._session.token

    @property
    def openai(self) -> OpenAISettings:
        """What OpenAI's own client takes: `OpenAI(base_url=…, api_key=…)`."""
        return OpenAISettings(self._session.address.url + "/v1", self._session.token or "")
