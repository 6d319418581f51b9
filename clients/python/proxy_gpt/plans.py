"""How calls are made: attempts, waits, streams that are resumed. No input or output.

A plan is a generator. It yields what a driver does for it, `Do`, and gets the result back; what it hands to the
caller it yields as `Item`. There is one driver of sockets and one of asyncio, and all decisions are here.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import time
from typing import Any, Callable, Deque, Dict, Generator, Generic, List, NamedTuple, Optional, Tuple, TypeVar, Union

from .errors import ProxyGPTError, backoff, connection_error, error_of_answer, retry_delay, unexpected
from .http import Address, Event, EventReader, ProtocolError, Request, ResponseReader
from .models import Message, build

T = TypeVar("T")

# The server sends something every 15 s.
SILENCE = 60.0
# Attempts in a row that bring nothing, after which a stream is given up.
ATTEMPTS = 10
LONGEST_RETRY = 10.0


class Connection:
    """What a driver's `dial` returns. Both methods return at once."""

    def close(self) -> None:
        raise NotImplementedError

    def keep(self) -> None:
        """Lets a later call use the connection."""
        raise NotImplementedError


class Do(NamedTuple):
    """What a driver does: one of its methods `dial`, `write`, `read` and `pause`, with its arguments."""

    action: str
    arguments: Tuple[Any, ...]


class Item(NamedTuple):
    """What a plan hands to its caller."""

    value: Any


Plan = Generator[Union[Do, Item], Any, T]


class Aborted(Exception):
    """The caller has left: cancelled, interrupted, or done with the stream."""


class Steps(Generic[T]):
    """Runs a plan. Each method returns the next step, or None at the end; errors of the plan are raised.

    Errors of the API go into the plan as they are. Any other one, such as KeyboardInterrupt, is `Aborted` to the
    plan, which may take further steps to clean up, and is raised when those are done.
    """

    def __init__(self, plan: Plan[T]) -> None:
        self._plan = plan
        self._cause: Optional[BaseException] = None
        self.result: Any = None

    def begin(self) -> Union[Do, Item, None]:
        return self._step(lambda: next(self._plan))

    def go_on(self, value: Any) -> Union[Do, Item, None]:
        return self._step(lambda: self._plan.send(value))

    def fail(self, error: BaseException) -> Union[Do, Item, None]:
        if isinstance(error, ProxyGPTError):
            return self._step(lambda: self._plan.throw(error))
        self._cause = self._cause or error
        return self._step(lambda: self._plan.throw(Aborted()))

    def _step(self, step: Callable[[], Union[Do, Item]]) -> Union[Do, Item, None]:
        try:
            return step()
        except StopIteration as end:
            self.result = end.value
        except Aborted:
            pass
        if self._cause:
            raise self._cause
        return None


@dataclasses.dataclass(frozen=True)
class Call(Generic[T]):
    """A call of the API: what is sent, and what its answer becomes."""

    request: Request
    parse: Callable[[Any], T]
    may_repeat: bool = False
    has_token: bool = True


class Session:
    """The server's address, the credential, and how a call is made."""

    def __init__(self, url: str, token: Optional[str], timeout: float, max_retries: int, agent: str) -> None:
        self.address = Address.parse(url)
        self.token = token
        self.timeout = timeout
        self.max_retries = max_retries
        self._agent = agent

    def headers(self, has_token: bool = True) -> Dict[str, str]:
        headers = {"User-Agent": self._agent}
        if has_token and self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def perform(self, call: Call[T], timeout: Optional[float] = None) -> Plan[T]:
        """Makes a call, again where that is safe and may help; what it answers."""
        timeout = self.timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        for attempt in itertools.count():
            try:
                body = yield from self._once(call, end)
                break
            except ProxyGPTError as error:
                if error.status == 0 and time.monotonic() >= end:
                    raise ProxyGPTError(f"The server gave no answer in {timeout:g} s.", code="timeout") from None
                may_repeat = call.may_repeat and attempt < self.max_retries
                delay = retry_delay(error, attempt) if may_repeat else None
                if delay is None or time.monotonic() + delay >= end:
                    raise
            yield Do("pause", (delay,))
        return understood(call.parse, body)

    def _once(self, call: Call[Any], end: float) -> Plan[bytes]:
        data = call.request.encoded(self.address, self.headers(call.has_token))
        connection: Connection = yield Do("dial", (end - time.monotonic(), True))
        reader, body = ResponseReader(), []
        try:
            yield Do("write", (connection, data, end - time.monotonic()))
            while not reader.is_complete:
                received = yield Do("read", (connection, end - time.monotonic()))
                body.append(take(reader.receive, received))
        finally:
            if reader.can_reuse:
                connection.keep()
            else:
                connection.close()
        if reader.status != 200:
            raise error_of_answer(reader.status, reader.headers, b"".join(body))
        return b"".join(body)


def take(receive: Callable[[bytes], T], data: bytes) -> T:
    """What a reader makes of bytes; a connection failure where they are none of the protocol's."""
    try:
        return receive(data)
    except ProtocolError as problem:
        raise connection_error(str(problem)) from None


def understood(parse: Callable[[Any], T], text: Union[bytes, str]) -> T:
    """What JSON of the server means; an error where it has another form than this client knows."""
    try:
        return parse(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise unexpected("The server answered what this client does not understand.", 200) from None


class Subscription:
    """The events of a chat's stream, over all connections that it takes."""

    def __init__(self, session: Session, chat_id: str, place: Optional[str] = None) -> None:
        # The id of the last event that was handed out: where a new connection goes on.
        self.place = place
        self._session = session
        self._chat_id = chat_id
        self._connection: Optional[Connection] = None
        self._answer = ResponseReader()
        self._reader = EventReader()
        self._events: Deque[Event] = collections.deque()
        self._retry: Optional[float] = None
        self._has_been_accepted = False
        self._attempts = 0

    def begin(self) -> Plan[None]:
        """Subscribes: an event has come, and with it a place from which a new connection can go on.

        An error when the server refuses, or brings nothing for too long.
        """
        while not self._events:
            try:
                if self._connection is None:
                    yield from self._connect()
                elif self._answer.is_complete:
                    raise connection_error("the stream was closed")
                else:
                    received = yield Do("read", (self._connection, SILENCE))
                    self._take(take(self._answer.receive, received))
            except ProxyGPTError as error:
                self.close()
                delay = self._delay_after(error)
                if delay is None:
                    raise
                yield Do("pause", (delay,))

    def next(self) -> Plan[Event]:
        """The next event. Errors as of `begin`."""
        yield from self.begin()
        event = self._events.popleft()
        if event.id is not None:
            self.place = event.id or None
        return event

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _connect(self) -> Plan[None]:
        headers = {"Accept": "text/event-stream", **self._session.headers()}
        if self.place is not None:
            headers["Last-Event-ID"] = self.place
        request = Request("/chat/stream", {"id": self._chat_id})
        data = request.encoded(self._session.address, headers)
        self._answer, self._reader = ResponseReader(), EventReader()
        self._connection = yield Do("dial", (SILENCE, False))
        yield Do("write", (self._connection, data, SILENCE))
        body = b""
        # An answer that is no stream is read whole: its body says why.
        while not self._answer.status or not self._is_stream and not self._answer.is_complete:
            received = yield Do("read", (self._connection, SILENCE))
            body += take(self._answer.receive, received)
        if self._answer.status != 200:
            raise error_of_answer(self._answer.status, self._answer.headers, body)
        if not self._is_stream:
            raise unexpected("The server did not answer with a stream of events.", 200)
        self._has_been_accepted = True
        self._take(body)

    @property
    def _is_stream(self) -> bool:
        kind = self._answer.headers.get("content-type", "").lower()
        return self._answer.status == 200 and kind.startswith("text/event-stream")

    def _take(self, body: bytes) -> None:
        events, is_alive = take(self._reader.receive, body)
        self._events.extend(events)
        if is_alive:
            self._attempts = 0
        if self._reader.retry is not None:
            self._retry = min(self._reader.retry, LONGEST_RETRY)

    def _delay_after(self, error: ProxyGPTError) -> Optional[float]:
        """The seconds until the next attempt; None where there is none."""
        delay = retry_delay(error, self._attempts)
        if delay is None or self._attempts >= (ATTEMPTS if self._has_been_accepted else self._session.max_retries):
            return None
        self._attempts += 1
        if error.status != 0 and error.retry_after is not None:
            return delay
        return self._retry if self._retry is not None else backoff(self._attempts - 1)


class Transcript:
    """How much of a reply its caller has, so that no word is missing or comes twice."""

    def __init__(self) -> None:
        self.text = ""
        # How much of the reply the present sequence of deltas has brought; None when they do not fit the text.
        self._position: Optional[int] = 0

    def start_over(self) -> None:
        """The deltas begin anew."""
        self._position = 0

    def add(self, delta: str) -> str:
        """What is new in a delta."""
        if self._position is None:
            return ""
        known = self.text[self._position : self._position + len(delta)]
        if not delta.startswith(known):
            # Only the whole reply can tell.
            self._position = None
            return ""
        self._position += len(delta)
        return self._append(delta[len(known) :])

    def complete(self, reply: str) -> str:
        """What is new in the whole reply."""
        return self._append(reply[len(self.text) :] if reply.startswith(self.text) else "")

    def _append(self, text: str) -> str:
        self.text += text
        return text


def pages(
    session: Session, call: Callable[[Optional[str]], Call[Any]], elements: Callable[[Any], List[Any]]
) -> Plan[None]:
    """All elements of a list, the newest first.

    The next page is read before the present one is handed out: its caller may delete what it gets, and a page
    begins at an element that must exist.
    """
    page = yield from session.perform(call(None))
    while page is not None:
        present, following = elements(page), None
        if page.has_more and present:
            following = yield from session.perform(call(present[0].id))
        for element in reversed(present):
            yield Item(element)
        page = following


class MessageFrame(NamedTuple):
    """A frame of a stream: a delta of a message, or the whole message in the end."""

    message: Message
    is_partial: bool


def frame_of(event: Event) -> MessageFrame:
    """The frame of an event."""
    return understood(lambda value: MessageFrame(build(Message, value["message"]), value["partial"]), event.data or "")
