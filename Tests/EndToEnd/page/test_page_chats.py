"""Beginning chats by typing, their titles, their order, their models; the room on a phone."""

import pytest
from client import call
from processes import wait_for
from visitors import SKIP, browser, visit  # noqa: F401  fixtures

pytestmark = SKIP

PHONE = {"width": 360, "height": 640}


def listed(visitor):
    """The names in the list of chats, from the top."""
    return visitor.page.evaluate(
        "[...document.querySelectorAll('#chats a span')].map((each) => each.textContent)"
    )


def chats(visitor):
    return visitor.api("/chat/index")["chats"]


def until_done(visitor, count=1):
    wait_for(
        lambda: [each["state"] for each in visitor.messages()] == ["done"] * count,
        f"{count} replies",
    )


# Beginning


@pytest.mark.parametrize("size", [{}, PHONE])
def test_typing_makes_a_chat(visit, size):
    ada = visit(**size)
    assert ada.page.focused() == ("textbox", "Message")
    ada.page.type("Tell me  about\nSpain")
    ada.page.press("Enter")
    ada.page.until_found("heading", "Tell me about Spain")
    until_done(ada)
    assert ada.page.evaluate("document.getElementById('prompt').value") == ""
    assert ada.page.focused() == ("textbox", "Message")
    [chat] = chats(ada)
    assert chat["name"] == "Tell me about Spain"
    assert [each["prompt"] for each in ada.messages()] == ["Tell me  about\nSpain"]
    assert ada.page.evaluate("location.hash") == f"#/chat/{chat['id']}"
    ada.write("And more")
    until_done(ada, 2)
    assert len(chats(ada)) == 1

    # The way back leads to the next one.
    ada.page.evaluate("history.back()")
    ada.page.until("document.getElementById('chat').hidden")
    ada.write("Another")
    ada.page.until_found("heading", "Another")
    until_done(ada)
    assert len(chats(ada)) == 2


def test_a_chat_that_cannot_be_made_leaves_what_is_written(visit, stack):
    ada = visit()
    ada.expected += ["ERR_", "status of 502"]
    stack.stop_nginx()
    ada.write("Keep this.")
    ada.page.until_shown("The server cannot be reached.")
    stack.start_nginx()
    assert ada.page.evaluate("document.getElementById('prompt').value") == "Keep this."
    ada.page.click("button", "Send")
    ada.page.until_found("heading", "Keep this.")
    until_done(ada)
    assert len(chats(ada)) == 1


# Titles


def test_a_long_prompt_gives_a_short_title_cut_at_a_word(visit):
    ada = visit()
    ada.write("word " * 30)
    ada.page.until_found("heading", ("word " * 12).strip() + "…")
    until_done(ada)
    assert chats(ada)[0]["name"] == ("word " * 12).strip() + "…"


def test_a_chat_without_a_name_is_named_by_its_first_prompt(visit):
    ada, bob = visit(), visit()
    chat = ada.api("/chat/create")["id"]
    ada.api("/chat/user/add", id=chat, username=bob.name)
    ada.open("chat", chat)
    ada.page.until_found("heading", "general")
    ada.write("What is a name?")
    ada.page.until_found("heading", "What is a name?")
    wait_for(lambda: chats(ada)[0]["name"] == "What is a name?", "the chat's name")
    ada.page.until_found("link", "What is a name?")

    # Also where the first prompt came from elsewhere, for those who may not name it.
    other = ada.api("/chat/create")["id"]
    ada.api("/chat/user/add", id=other, username=bob.name)
    ada.api("/chat/prompt", id=other, prompt="From elsewhere")
    bob.open("chat", other)
    bob.page.until_found("heading", "From elsewhere")
    bob.page.click("button", "Refresh")
    bob.page.until_found("link", "From elsewhere")


def test_a_name_of_its_own_stays(visit):
    ada = visit()
    ada.new_chat("Mine")
    ada.write("Other words")
    until_done(ada)
    assert ada.page.find("heading", "Mine") and chats(ada)[0]["name"] == "Mine"


def test_a_prompt_off_the_record_names_nothing(visit):
    ada = visit()
    ada.page.click("checkbox", "Off the record")
    ada.write("A secret")
    wait_for(lambda: [each["off"] for each in ada.messages()] == [True], "the message")
    ada.page.until_found("heading", "general")
    assert chats(ada)[0]["name"] == "general"
    assert not ada.page.evaluate("document.getElementById('otr').checked")
    ada.write("No secret")
    ada.page.until_found("heading", "No secret")
    wait_for(lambda: chats(ada)[0]["name"] == "No secret", "the chat's name")


# Order


def test_chats_are_ordered_by_their_last_message(visit):
    ada = visit()
    ids = {name: ada.api("/chat/create", name=name)["id"] for name in ("one", "two", "three")}
    ada.page.click("button", "Refresh")
    wait_for(lambda: listed(ada) == ["three", "two", "one"], "the newest first")
    ada.api("/chat/prompt", id=ids["one"], prompt="again", otr=True)
    ada.page.click("button", "Refresh")
    wait_for(lambda: listed(ada) == ["one", "three", "two"], "the chat with the message first")
    ada.open("chat", ids["two"])
    ada.page.until_found("heading", "two")
    ada.write("me too")
    wait_for(lambda: listed(ada) == ["two", "one", "three"], "the prompted chat first")


def test_groups_are_in_sight_below_a_hundred_chats(visit):
    ada = visit(**PHONE)
    for number in range(100):
        ada.api("/chat/create", name=f"chat {number}")
    ada.api("/group/create", name="Reachable")
    ada.page.click("button", "Refresh")
    ada.page.until_found("link", "Reachable")
    bottom = "document.querySelector('#groups a').getBoundingClientRect().bottom"
    composer = "document.getElementById('composer').getBoundingClientRect().top"
    assert ada.page.evaluate(f"0 < {bottom} && {bottom} <= {composer}")


# Models


def test_the_upstreams_models_are_offered_and_any_other_is_taken(visit, stack):
    ada = visit()
    answer = call(stack.url, "GET", "/v1/models", token=ada.token)
    known = sorted(each["id"] for each in answer.json["data"])
    options = "[...document.getElementById('models').options].map((each) => each.value)"
    wait_for(lambda: ada.page.evaluate(options) == known, "the models")
    ada.page.fill("Model of the new chat", "mock?chunks=2", role="combobox")
    ada.write("With a model")
    ada.page.until_shown("mock?chunks=2")
    until_done(ada)
    assert chats(ada)[0]["model"] == "mock?chunks=2"

    ada.page.click("button", "Model")
    ada.page.fill("Model", "gpt-4o", role="combobox")
    ada.page.click("button", "Change")
    ada.page.until_shown("gpt-4o")
    assert chats(ada)[0]["model"] == "gpt-4o"


# A phone


def test_a_phones_screen_belongs_to_the_conversation(visit):
    ada = visit(**PHONE)
    chat = ada.api("/chat/create", name="A long name " * 10, model="a-model-of-a-long-name-" * 4)["id"]
    ada.open("chat", chat)
    ada.page.until_shown("a-model-of-a-long-name-")
    height = ada.page.evaluate("""
        ['#chat header', '#composer'].map((each) => document.querySelector(each).offsetHeight)
            .reduce((one, other) => one + other)""")
    assert 0 < height <= 0.2 * PHONE["height"]


def test_a_phone_has_the_actions_in_a_menu(visit):
    ada = visit(**PHONE)
    ada.new_chat("Small")
    assert not ada.page.find("button", "Rename")
    ada.page.tab_to("button", "More about the chat", shift=True)
    ada.page.press("Enter")
    ada.page.until_found("button", "Rename")
    ada.page.press("Escape")
    assert not ada.page.find("button", "Rename")
    assert ada.page.focused() == ("button", "More about the chat")
    ada.page.press("Enter")
    ada.page.click("button", "Rename")
    ada.page.fill("Name", "Smaller")
    ada.page.press("Enter")
    ada.page.until_found("heading", "Smaller")
    wait_for(lambda: ada.page.focused() == ("button", "More about the chat"), "the focus")
    assert not ada.page.find("button", "Rename")
