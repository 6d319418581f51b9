"""The scenario that every client runs: the same steps and the same lines in all languages.

Environment: PROXY_GPT_URL, SCENARIO_USER, SCENARIO_OTHER. The program prints one JSON object a line, and at "cut" and
"worker" it waits for a line on standard input, so that the test can stop and start processes meanwhile. It runs on
`Client`, or with --asyncio on `AsyncClient`; the steps are the same, since calls of `Client` are made in threads here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from typing import Any, AsyncIterator, Awaitable, Generator, Optional, Union

from proxy_gpt import AsyncClient, Client, Message, ProxyGPTError

URL = os.environ["PROXY_GPT_URL"]
USERNAME = os.environ["SCENARIO_USER"]
OTHER_USERNAME = os.environ["SCENARIO_OTHER"]
PASSWORD = "correct horse battery"
# The mock repeats the prompt behind "echo:", one word in 30 ms: 61 words are a reply of two seconds.
SLOW_MODEL = "mock?chunks=61"
SIXTY_WORDS = " ".join(f"word{number}" for number in range(1, 61))
MISSING_CHAT = "00000000-0000-7000-8000-000000000000"


class InThreads:
    """An object of `Client` whose methods are awaited as those of `AsyncClient` are."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if name in ("users", "chats", "groups"):
            return InThreads(value)
        if name in ("stream", "watch", "list_all", "messages_all", "members_all"):
            return lambda *arguments, **fields: GeneratorInThreads(value(*arguments, **fields))
        if callable(value):
            return lambda *arguments, **fields: asyncio.to_thread(value, *arguments, **fields)
        return value


class GeneratorInThreads:
    """A generator as an asynchronous one."""

    def __init__(self, generator: Generator[Any, None, None]) -> None:
        self._generator = generator

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        end = object()
        value = await asyncio.to_thread(next, self._generator, end)
        if value is end:
            raise StopAsyncIteration
        return value

    async def aclose(self) -> None:
        await asyncio.to_thread(self._generator.close)


def client(token: Optional[str] = None, max_retries: int = 2) -> Union[AsyncClient, Any]:
    if "--asyncio" in sys.argv:
        return AsyncClient(URL, token=token, max_retries=max_retries)
    return InThreads(Client(URL, token=token, max_retries=max_retries))


def show(step: str, **values: Any) -> None:
    print(json.dumps({"step": step, **values}, separators=(",", ":"), ensure_ascii=False), flush=True)


async def wait_for_go() -> None:
    await asyncio.to_thread(sys.stdin.readline)


async def error_of(call: Awaitable[Any]) -> ProxyGPTError:
    """The error of a call that has to fail."""
    try:
        await call
    except ProxyGPTError as error:
        return error
    raise AssertionError("a call succeeded that should have failed")


async def ended_message(gpt: Any, chat_id: str, id: str) -> Message:
    """The message as the server has it once its reply has ended."""
    while True:
        async for message in gpt.chats.messages_all(chat_id):
            if message.id == id and message.state not in ("pending", "streaming"):
                found: Message = message
                return found
        await asyncio.sleep(0.05)


async def users(gpt: Any) -> None:
    signed_up = await gpt.users.sign_up(USERNAME, PASSWORD)
    show("sign-up", role=signed_up.user.role, has_token=bool(signed_up.token))
    wrong = await error_of(client().users.log_in(USERNAME, "wrong password"))
    show("wrong-password", error={"status": wrong.status, "code": wrong.code})
    session = await gpt.users.session()
    show("session", same_user=session.user.id == signed_up.user.id)


async def replies(gpt: Any) -> str:
    chat = await gpt.chats.create(name="Scenario")
    show("chat", name=chat.name, model=chat.model)
    answer = await gpt.chats.prompt(chat.id, "Tell me about Spain.")
    show("prompt", reply=answer.reply, state=answer.message.state)
    text = ""
    async for delta in gpt.chats.stream(chat.id, "one two three four five"):
        text += delta.text
        last = delta.message
    show("stream", text=text, deltas_joined_equal_reply=text == last.reply, state=last.state)
    id: str = chat.id
    return id


async def interruptions(gpt: Any, chat_id: str) -> None:
    slow = await gpt.chats.create(name="Slow", model=SLOW_MODEL)
    deltas, stream = 0, gpt.chats.stream(slow.id, SIXTY_WORDS)
    async for delta in stream:
        deltas += 1
        if deltas == 3:
            break
    await stream.aclose()
    stopped = await ended_message(gpt, slow.id, delta.message.id)
    show("abort", state=stopped.state, is_shorter=len(stopped.reply) < len(f"echo: {SIXTY_WORDS}"))

    text, deltas = "", 0
    async for delta in gpt.chats.stream(slow.id, SIXTY_WORDS):
        text += delta.text
        deltas += 1
        if deltas == 3:
            show("cut", at="third delta")
            await wait_for_go()
    stored = await ended_message(gpt, slow.id, delta.message.id)
    show("resumed", text=text, equals_stored=text == stored.reply)
    await gpt.chats.delete(slow.id)

    show("worker", at="before prompt")
    await wait_for_go()
    show("worker-prompt", reply=(await gpt.chats.prompt(chat_id, "after the restart")).reply)


async def refusals(gpt: Any, chat_id: str) -> None:
    for number in range(1, 251):
        await gpt.chats.create(name=f"Chat {number}")
    ids = [chat.id async for chat in gpt.chats.list_all()]
    show("paging", chats=len(ids), distinct=len(set(ids)))
    note = await gpt.chats.prompt(chat_id, "between us", otr=True)
    show("off-the-record", otr=note.message.otr, reply=note.reply)
    missing = await error_of(gpt.chats.read(MISSING_CHAT))
    show("not-found", error={"status": missing.status, "code": missing.code})
    conflict = await error_of(client().users.sign_up(USERNAME, PASSWORD))
    show("conflict", error={"status": conflict.status, "code": conflict.code, "param": conflict.param})

    busy = await gpt.chats.create(name="Busy", model=SLOW_MODEL)
    impatient = client(gpt.token, max_retries=0)
    stream = gpt.chats.stream(busy.id, SIXTY_WORDS)
    async for delta in stream:
        limited = await error_of(impatient.chats.prompt(chat_id, "one too many"))
        error = {"status": limited.status, "code": limited.code, "has_retry_after": limited.retry_after is not None}
        show("rate-limit", error=error)
        break
    await stream.aclose()
    await ended_message(gpt, busy.id, delta.message.id)


async def two_users(gpt: Any) -> None:
    other = client()
    other_user = (await other.users.sign_up(OTHER_USERNAME, PASSWORD)).user
    group = await gpt.groups.create(name="Scenario")
    await gpt.groups.add_members(group.id, [other_user.id])
    members = [user async for user in gpt.groups.members_all(group.id)]
    shared = await gpt.chats.create(name="Shared", model=SLOW_MODEL, group_id=group.id)
    seen = (await other.chats.read(shared.id)).chat
    show("group", members=len(members), chat_in_group=seen.group_id == group.id)

    async def watched() -> list[str]:
        kinds: list[str] = []
        frames = other.chats.watch(shared.id)
        async for frame in frames:
            if frame.kind not in kinds:
                kinds.append(frame.kind)
            if frame.kind == "message" and not frame.partial:
                break
        await frames.aclose()
        return kinds

    async def has_ended() -> bool:
        try:
            async for _ in other.chats.watch(shared.id):
                pass
        except ProxyGPTError as error:
            return error.status == 401
        return True

    watch = asyncio.ensure_future(watched())
    await gpt.chats.prompt(shared.id, SIXTY_WORDS)
    show("watch", kinds=await watch)
    end = asyncio.ensure_future(has_ended())
    await client(other.token).users.log_out()
    show("logout", watch_ended=await end)


def models_status(base_url: str, api_key: str) -> int:
    request = urllib.request.Request(base_url + "/models", headers={"Authorization": f"Bearer {api_key}"})
    with urllib.request.urlopen(request) as response:
        status: int = response.status
        return status


async def main() -> None:
    gpt = client()
    await users(gpt)
    chat_id = await replies(gpt)
    await interruptions(gpt, chat_id)
    await refusals(gpt, chat_id)
    await two_users(gpt)
    openai = gpt.openai
    show("openai", models=await asyncio.to_thread(models_status, openai.base_url, openai.api_key) == 200)
    show("end")


asyncio.run(main())
