"""Groups: their form, their members, and how they are handed on and deleted."""

import uuid

import pytest
from client import call, check_error
from person import Person, at_once

DATABASES = ("sqlite", "postgresql+redis")

GROUP = {"id", "name", "description", "owner_id", "created_at", "updated_at"}


@pytest.fixture(scope="module")
def owner(stack):
    return Person(stack)


@pytest.fixture(scope="module")
def member(stack):
    return Person(stack)


@pytest.fixture(scope="module")
def others(stack):
    return [Person(stack) for _ in range(3)]


def names(person, group, **page):
    return [user["username"] for user in person.do("/group/members", id=group, **page)["users"]]


def test_a_group_has_its_owner_as_its_first_member(owner):
    group = owner.do("/group/create", name="  My group ", description="what\nwe do")
    assert set(group) == GROUP
    assert (group["name"], group["description"]) == ("My group", "what\nwe do")
    assert group["owner_id"] == owner.id and uuid.UUID(group["id"]).version == 7
    assert owner.do("/group/create", name="bare")["description"] == ""
    read = owner.do("/group/read", id=group["id"])
    assert read["group"] == group and {name: read[name] for name in GROUP} == group
    assert [user["id"] for user in read["members"]] == [owner.id]
    assert set(read["members"][0]) == {"id", "username", "first_name", "last_name"}
    assert group["id"] in owner.get("/user/read").json["groups"]


@pytest.mark.parametrize(
    "path, fields, param",
    [
        ("/group/create", {}, "name"), ("/group/create", {"name": " "}, "name"),
        ("/group/create", {"name": "n" * 121}, "name"),
        ("/group/create", {"name": "a\tb"}, "name"),
        ("/group/create", {"name": "x", "description": "d" * 2001}, "description"),
        ("/group/create", {"name": "x", "description": "a\0b"}, "description"),
        ("/group/read", {}, "id"), ("/group/members", {}, "id"), ("/group/update", {}, "id"),
        ("/group/members/add", {"id": "GROUP"}, "user_ids"),
        ("/group/members/add", {"id": "GROUP", "user_ids": ","}, "user_ids"),
        ("/group/members/remove", {"id": "GROUP", "user_ids": ""}, "user_ids"),
        ("/group/index", {"after": "none"}, "after"), ("/group/members", {"id": "GROUP",
         "limit": 0}, "limit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(owner, path, fields, param):
    group = owner.group()
    fields = {name: group if value == "GROUP" else value for name, value in fields.items()}
    check_error(owner.post(path, **fields), 400, "invalid_request", param)


def test_the_limits_themselves_are_allowed(owner):
    group = owner.do("/group/create", name="é" * 120, description="ß" * 2000)
    assert owner.do("/group/read", group_id=group["id"])["group"] == group


def test_members_are_given_in_each_of_three_forms_by_id_or_name(stack, owner, others):
    first, second, third = others
    everybody = {owner.name, first.name, second.name, third.name}
    ways = [
        {"form": [("user_ids", first.id), ("user_ids", second.id), ("user_ids", third.name)]},
        {"form": {"user_ids": f"{first.id},{second.name}, {third.id}"}},
        {"json": {"user_ids": [first.name.upper(), second.id, third.id]}},
        {"json": {"user_ids": f"{first.id},{second.id},{third.id}"}},
    ]
    for given in ways:
        group = owner.group()
        for _ in range(2):
            answer = call(
                stack.url, "POST", f"/group/members/add?group_id={group}", token=owner.token, **given
            )
            assert answer.status == 200 and answer.json == {}, answer
            assert set(names(owner, group)) == everybody
        answer = call(
            stack.url, "POST", f"/group/members/remove?id={group}", token=owner.token, **given
        )
        assert answer.json == {} and names(owner, group) == [owner.name]


def test_all_are_added_and_removed_or_none(owner, others):
    group = owner.group(others[0])
    nobody = str(uuid.uuid4())
    answer = owner.post("/group/members/add", id=group, user_ids=[others[1].id, nobody])
    check_error(answer, 404, "not_found", "user_ids")
    assert set(names(owner, group)) == {owner.name, others[0].name}
    answer = owner.post("/group/members/remove", id=group, user_ids=[others[0].id, nobody])
    check_error(answer, 404, "not_found", "user_ids")
    answer = owner.post("/group/members/remove", id=group, user_ids=[others[0].id, owner.id])
    check_error(answer, 400, "invalid_request", "user_ids")
    assert set(names(owner, group)) == {owner.name, others[0].name}


def test_a_member_removes_itself_and_nobody_else(owner, member, others):
    group = owner.group(member, others[0])
    for ids in ([others[0].id], [member.id, others[0].id], [owner.id]):
        check_error(member.post("/group/members/remove", id=group, user_ids=ids), 403, "forbidden")
    assert len(names(member, group)) == 3
    assert member.do("/group/members/remove", id=group, user_ids=member.name) == {}
    check_error(member.post("/group/members", id=group), 404)


def test_members_are_listed_in_pages(owner, others):
    group = owner.group(*others)
    everybody = owner.do("/group/members", id=group)["users"]
    assert [user["id"] for user in everybody] == sorted(user["id"] for user in everybody)
    newest = owner.do("/group/members", id=group, limit=2)
    assert newest["users"] == everybody[2:] and newest["has_more"] is True
    older = owner.do("/group/members", id=group, limit=2, before=everybody[2]["id"])
    assert older["users"] == everybody[:2] and older["has_more"] is False
    after = owner.do("/group/members", id=group, limit=1, after=everybody[0]["id"])
    assert after["users"] == everybody[1:2] and after["has_more"] is True


def test_the_index_holds_ones_own_groups_in_order(stack, owner):
    person = Person(stack)
    made = [person.group(name=f"n{number}") for number in range(3)]
    foreign = owner.group(person)
    owner.group()
    index = person.do("/group/index")
    assert [group["id"] for group in index["groups"]] == [*made, foreign]
    page = person.do("/group/index", limit=2, before=made[2])
    assert [group["id"] for group in page["groups"]] == made[:2] and not page["has_more"]
    theirs = owner.group()
    for anchor in (theirs, str(uuid.uuid4())):
        check_error(person.post("/group/index", before=anchor), 400, param="before")


def test_an_update_keeps_what_is_absent(owner):
    group = owner.do("/group/create", name="before", description="text")
    changed = owner.do("/group/update", id=group["id"], name="after")
    assert changed == group | {"name": "after", "updated_at": changed["updated_at"]}
    changed = owner.do("/group/update", group_id=group["id"], description="")
    assert (changed["name"], changed["description"]) == ("after", "")


def test_a_group_is_handed_on_to_a_member_alone(owner, member, others):
    group = owner.group(member)
    chat = owner.chat(group_id=group)
    for nobody in (others[0].id, str(uuid.uuid4())):
        answer = owner.post("/group/update", id=group, name="changed", owner_id=nobody)
        check_error(answer, 404, "not_found", "owner_id")
    assert owner.do("/group/read", id=group)["name"] == "group"
    handed = owner.do("/group/update", id=group, owner_id=member.name)
    assert handed["owner_id"] == member.id
    check_error(owner.post("/group/update", id=group, name="mine"), 403, "forbidden")
    check_error(owner.post("/group/delete", id=group), 403, "forbidden")
    # Now the former owner may go, and its chat is the new owner's.
    assert owner.do("/group/members/remove", id=group, user_ids=owner.id) == {}
    check_error(owner.post("/chat/read", id=chat), 404)
    check_error(owner.post("/chat/delete", id=chat), 404)
    assert member.do("/chat/update", id=chat, name="theirs")["name"] == "theirs"
    assert member.do("/group/delete", id=group) == {}
    check_error(member.post("/chat/read", id=chat), 404)


def test_handing_on_and_removal_at_once_leave_the_owner_a_member(owner, member, others):
    """Whatever comes first, the owner is always one of the members."""
    for _ in range(20):
        group = owner.group(member, others[0])
        at_once(
            [
                lambda: owner.post("/group/update", id=group, owner_id=member.id),
                lambda: owner.post("/group/members/remove", id=group, user_ids=member.id),
                lambda: member.post("/group/members/remove", id=group, user_ids=member.id),
            ]
        )
        read = others[0].do("/group/read", id=group)
        assert read["owner_id"] in {user["id"] for user in read["members"]}


@pytest.mark.parametrize(
    "path, allowed",
    [
        ("/group/read", "GET, HEAD, POST"), ("/group/index", "GET, HEAD, POST"),
        ("/group/members", "GET, HEAD, POST"), ("/group/create", "POST"),
        ("/group/update", "POST"), ("/group/delete", "POST"), ("/group/members/add", "POST"),
        ("/group/members/remove", "POST"),
    ],
)  # fmt: skip
def test_what_only_reads_takes_get_too(stack, owner, path, allowed):
    target = path if path == "/group/index" else f"{path}?id={owner.group()}"
    for method in ("GET", "PUT", "DELETE"):
        answer = call(stack.url, method, target, token=owner.token)
        if method in allowed:
            assert answer.status == 200
        else:
            check_error(answer, 405, "method_not_allowed")
            assert answer.header("Allow") == allowed
