"""What a model is told of a chat's past, whichever worker takes the prompt."""

import pytest
from person import Person
from upstream import Upstream, hold

DATABASES = ("sqlite", "postgresql+redis")

BUDGET = 300


def fail(asked):
    asked.begin(500, "application/json")


def say_nothing(asked):
    asked.begin()
    asked.end()


@pytest.fixture(scope="module")
def upstream():
    with Upstream(fail=fail, hold=hold, nothing=say_nothing) as running:
        yield running


@pytest.fixture(scope="module")
def stack(make_stack, upstream):
    settings = {"API_URL": upstream.url}
    with make_stack(mock=False, streamer=False, workers=1, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def other(make_stack, stack, upstream):
    """A second worker, with a front of its own, over the same database."""
    settings = {"API_URL": upstream.url}
    with make_stack(
        mock=False, streamer=False, workers=1, settings=settings,
        state_directory=stack.state_directory,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def owner(stack):
    return Person(stack)


def told(upstream, owner, chat, prompt, **fields):
    """The context with which a prompt reached the upstream."""
    owner.prompt(chat, prompt, **fields)
    asked = upstream.of(prompt)[-1]
    assert asked.turns[-1] == ("user", prompt)
    roles = [role for role, _ in asked.turns[:-1]]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    return asked.context


def said(*prompts):
    return [text for prompt in prompts for text in (prompt, f"echo: {prompt}")]


def test_the_newest_messages_go_along_oldest_first(owner, upstream):
    chat = owner.chat()
    prompts = [f"{owner.name} {number}" for number in range(13)]
    for number, prompt in enumerate(prompts):
        assert told(upstream, owner, chat, prompt) == said(*prompts[max(0, number - 10) : number])


@pytest.mark.parametrize("context", [0, 1, 3, 10, 1000])
def test_a_request_says_how_many(owner, upstream, context):
    chat = owner.chat()
    prompts = [f"{owner.name} {number}" for number in range(12)]
    for prompt in prompts:
        owner.prompt(chat, prompt, context=0)
    last = f"{owner.name} last"
    expected = said(*prompts[-context:]) if context else []
    # Cold, then from memory, then less and more than the memory was built for.
    assert told(upstream, owner, chat, last, context=context) == expected
    prompts.append(last)
    again = f"{owner.name} again"
    expected = said(*prompts[-context:]) if context else []
    assert told(upstream, owner, chat, again, context=context) == expected
    prompts.append(again)
    assert told(upstream, owner, chat, "two", context=2) == said(*prompts[-2:])
    assert told(upstream, owner, chat, "all", context=500) == said(*prompts, "two")


def test_what_failed_was_empty_or_off_the_record_is_left_out(owner, upstream):
    chat = owner.chat()
    kept = f"{owner.name} kept"
    owner.prompt(chat, kept)
    owner.post("/chat/prompt", id=chat, prompt="fail now")
    owner.post("/chat/prompt", id=chat, prompt="nothing at all")
    owner.prompt(chat, "between us", otr=True)
    assert told(upstream, owner, chat, f"{owner.name} next", context=1) == said(kept)


def test_a_running_reply_is_left_out_and_a_stopped_one_counts(owner, upstream):
    chat = owner.chat()
    running = owner.prompt(chat, f"hold {owner.name}", stream=True)
    upstream.arrived(f"hold {owner.name}")
    assert told(upstream, owner, chat, f"{owner.name} meanwhile") == []
    stopped = owner.do("/chat/stop", id=chat, message_id=running["id"])["message"]
    assert (stopped["state"], stopped["reply"]) == ("stopped", "first words")
    expected = [f"hold {owner.name}", "first words", *said(f"{owner.name} meanwhile")]
    assert told(upstream, owner, chat, f"{owner.name} after") == expected


def test_a_token_budget_drops_the_oldest(make_stack, upstream, tmp_path):
    settings = {"API_URL": upstream.url, "CONTEXT_TOKENS": BUDGET, "CONTEXT_MESSAGES": 100}
    with make_stack(
        mock=False, streamer=False, workers=1, settings=settings, state_directory=tmp_path
    ) as stack:
        owner = Person(stack)
        chat = owner.chat()
        prompts = [f"{number} " + "word " * 20 for number in range(12)]
        sizes = [len(told(upstream, owner, chat, prompt)) for prompt in prompts]
        # A word is a token and each turn some more: two turns of over 50 tokens, six at most.
        assert sizes[:4] == [0, 2, 4, 6] and max(sizes) < 13 and sizes[-1] == max(sizes)
        warm = told(upstream, owner, chat, "warm", context=1000)
        assert warm == said(*prompts[-len(warm) // 2 :])
        stack.restart_worker(0)
        cold = told(upstream, owner, chat, "cold", context=1000)
        assert cold[-2:] == said("warm") and cold[:-2] == said(*prompts)[-len(cold) + 2 :]
        # A message that is too large by itself leaves nothing, and the next begin anew.
        owner.prompt(chat, "large " + "word " * 500, context=0)
        assert told(upstream, owner, chat, "alone") == []
        assert told(upstream, owner, chat, "not alone") == said("alone")


def test_no_prompt_misses_what_the_other_worker_stored(stack, other, upstream):
    here = Person(stack)
    there = here.at(other)
    chat = here.chat()
    prompts = []
    for number in range(40):
        # Sometimes twice in a row at the same worker, so that both have windows of all ages.
        who = (here, there, there, here, there)[number % 5]
        prompt = f"{here.name} round {number}"
        expected = said(*prompts[-10:])
        assert told(upstream, who, chat, prompt) == expected, f"round {number}"
        prompts.append(prompt)


def test_deletion_elsewhere_is_known_at_once(stack, other):
    here = Person(stack)
    there = here.at(other)
    for _ in range(10):
        chat = here.chat()
        here.prompt(chat, "hello")
        there.prompt(chat, "hello")
        there.do("/chat/delete", id=chat)
        assert here.post("/chat/prompt", id=chat, prompt="hello").status == 404
