"""Many at once on one SQLite file and two workers: whatever comes first, the rules hold."""

import database
from client import call
from person import Person, at_once
from stack import wait_for

DATABASES = ("sqlite", "postgresql+redis")
# As in production: TLS to the upstream, and hundreds of calls open beside the tests.
STACK = {"upstream_tls": True}
CROWD = 200


def test_one_name_signed_up_by_many_at_once_is_one_user(stack):
    for round_ in range(3):
        name = f"wanted-{round_}"
        forms = [
            {"username": name.upper() if number % 2 else name, "password": f"password-{number}"}
            for number in range(16)
        ]
        answers = at_once(
            [
                lambda form=form: call(
                    stack.url, "POST", "/user/signup", form=form, timeout=120
                )
                for form in forms
            ]
        )
        assert sorted(answer.status for answer in answers) == [200] + [409] * 15
        [winner] = [number for number, answer in enumerate(answers) if answer.status == 200]
        for number in (winner, (winner + 1) % 16):
            login = call(stack.url, "POST", "/user/login", form=forms[number])
            assert (login.status == 200) == (number == winner)


def test_what_each_says_in_one_chat_stays_in_its_order(stack):
    people = [Person(stack) for _ in range(6)]
    chat = people[0].chat()
    for person in people[1:]:
        people[0].do("/chat/user/add", id=chat, user_id=person.id)

    def talk(person):
        return [person.prompt(chat, f"{person.name} {number}") for number in range(8)]

    told = at_once([lambda person=person: talk(person) for person in people])
    stored = people[0].messages(chat, limit=1000)
    assert len(stored) == 48 and len({message["id"] for message in stored}) == 48
    for person, said in zip(people, told):
        assert [message for message in stored if message["user_id"] == person.id] == said
        for message in said:
            assert message["reply"].startswith(f"echo: {message['prompt']} ")


def test_prompts_that_race_a_deletion_are_answered_and_leave_nothing_behind(stack):
    owner = Person(stack)
    chats = []
    for _ in range(5):
        chat = owner.chat(model="mock?head-delay-ms=50")
        chats.append(chat)
        calls = [lambda chat=chat: owner.post("/chat/prompt", id=chat, prompt="x")] * 6
        calls.insert(3, lambda chat=chat: owner.post("/chat/delete", id=chat))
        statuses = [answer.status for answer in at_once(calls)]
        assert statuses[3] == 200 and set(statuses) <= {200, 404}
    stack.mock(f"/mock/wait?in-flight={stack.held_calls}")
    assert owner.do("/chat/index")["chats"] == []

    def left():
        places = ", ".join("?" * len(chats))
        return database.rows_of_copy(
            stack, f"SELECT id FROM messages WHERE chat_id IN ({places})", *chats
        )

    wait_for(lambda: not left(), "the rows of deleted chats to go")


def test_adding_and_removing_at_once_leaves_no_place_without_membership(stack):
    """Who was removed from the group while being added to its chat may be its guest, or nothing."""
    owner, member = Person(stack), Person(stack)
    for _ in range(10):
        group = owner.group(member)
        chat = owner.chat(group_id=group)
        answers = at_once(
            [
                lambda: owner.post("/group/members/remove", id=group, user_ids=member.id),
                lambda: owner.post("/chat/user/add", id=chat, user_id=member.id),
                lambda: owner.post("/group/members/remove", id=group, user_ids=member.id),
            ]
        )
        assert {answer.status for answer in answers} == {200}
        owner.do("/group/members/remove", id=group, user_ids=member.id)
        assert member.post("/chat/read", id=chat).status == 404
