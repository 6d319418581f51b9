"""Users and sessions: signing up, names, passwords, the cookie, changes, what strangers see."""

import contextlib
import datetime
import re
import unicodedata
import uuid

import client
import database
import fastcgi
import pytest
from client import basic, call, check_error
from stack import Stack

DATABASES = ("sqlite", "postgresql+redis")

STACK = {"tls": True}

USER = {"id", "username", "first_name", "last_name", "role", "created_at", "updated_at", "groups"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def sign_up(stack, username, password="password-1", **more):
    form = {"username": username, "password": password, **more}
    return call(stack.url, "POST", "/user/signup", form=form)


def log_in(stack, username, password="password-1", **options):
    form = {"username": username, "password": password}
    return call(stack.url, "POST", "/user/login", form=form, **options)


def is_live(stack, token):
    status = call(stack.url, "GET", "/user/session", token=token).status
    assert status in (200, 401)
    return status == 200


def moment(text):
    assert TIME.fullmatch(text), text
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# Signing up


def test_a_new_user_is_shown_in_full_and_without_secrets(stack):
    answer = sign_up(stack, "Maria", first_name="María", last_name="Núñez")
    assert answer.status == 200 and answer.header("Content-Type") == "application/json"
    user = answer.json["user"]
    assert set(user) == USER
    assert (user["username"], user["first_name"], user["last_name"]) == ("Maria", "María", "Núñez")
    assert user["groups"] == []
    assert moment(user["created_at"]) == moment(user["updated_at"])
    assert uuid.UUID(user["id"]).version == 7
    # 256 bits in base64url are 43 letters, behind a prefix that a leak scanner can find.
    assert re.fullmatch(r"[a-z]+_[A-Za-z0-9_-]{43}", answer.json["token"])
    assert "password" not in answer.body.decode()


@pytest.mark.parametrize(
    "first, second",
    [
        ("Zoe", "zOE"),
        ("plain", "  plain "),
        (unicodedata.normalize("NFC", "renée"), unicodedata.normalize("NFD", "renée")),
        ("ÅSA", unicodedata.normalize("NFD", "åsa")),
        ("ΣΙΣΥΦΟΣ", "σισυφος"),
    ],
)
def test_a_name_is_taken_whatever_its_case_and_normal_form(stack, first, second):
    assert sign_up(stack, first).status == 200
    check_error(sign_up(stack, second), 409, "conflict")


def test_a_name_is_stored_trimmed_and_composed(stack):
    answer = sign_up(stack, " " + unicodedata.normalize("NFD", "Zoë K").replace(" ", "") + "\t")
    assert answer.json["user"]["username"] == unicodedata.normalize("NFC", "ZoëK")


@pytest.mark.parametrize(
    "name",
    [
        "", "   ", "a" * 255, "é" * 128, "a:b", "a,b", "a/b", "a b", "a\tb", "a\u00a0b", "a\nb",
        "a\x00b", "a\x7fb", "a\u0085b", "a\u202eb", "a\u2066b", "a\u200bb", "a\u200db", "\ufeffab",
        "a\u2028b", "01890000-0000-7000-8000-000000000000",
        "01890000-0000-7000-8000-00000000000A",
    ],
)  # fmt: skip
def test_a_name_that_breaks_the_rules_is_refused(stack, name):
    check_error(sign_up(stack, name), 400, "invalid_request", "username")
    check_error(
        call(stack.url, "POST", "/user/signup", json={"username": name, "password": "12345678"}),
        400,
        "invalid_request",
        "username",
    )


def test_a_name_may_have_254_bytes(stack):
    assert sign_up(stack, "n" * 254).status == 200


@pytest.mark.parametrize("password", ["", "1234567", "ééé", "x" * 1025])
def test_a_password_too_short_or_too_long_is_refused(stack, password):
    check_error(sign_up(stack, "bounds", password), 400, "invalid_request", "password")


def test_passwords_of_8_and_of_1024_bytes_are_taken(stack):
    for name, password in (("shortest", "éééé"), ("longest", "x" * 1024)):
        assert sign_up(stack, name, password).status == 200
        assert log_in(stack, name, password).status == 200
    check_error(log_in(stack, "longest", "x" * 1023), 401, "unauthorized")


@pytest.mark.parametrize("form", [{"username": "lonely"}, {"password": "password-1"}, {}])
def test_signup_names_the_parameter_that_is_missing(stack, form):
    missing = "password" if "username" in form else "username"
    error = check_error(call(stack.url, "POST", "/user/signup", form=form), 400, "invalid_request")
    assert error["param"] == missing


# The cookie


def cookie_of(answer):
    [value] = answer.all("Set-Cookie")
    pair, *attributes = [part.strip() for part in value.split(";")]
    return pair, {attribute.lower() for attribute in attributes}


def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it(stack, token):
    answer = log_in(stack, "shared")
    pair, attributes = cookie_of(answer)
    assert pair == f"sess={answer.json['token']}"
    assert attributes == {"path=/", "httponly", "samesite=lax", f"max-age={30 * 86400}"}


def test_the_cookie_is_secure_when_the_request_came_over_tls(stack, token):
    code, output, trace = client.curl(
        "--cacert", stack.ca_file, "-i", f"{stack.tls_url}/user/login",
        "-d", "username=shared&password=password-1",
    )  # fmt: skip
    assert code == 0, trace
    head = output.decode().split("\r\n\r\n")[0]
    assert re.search(r"(?im)^set-cookie: sess=.*; *secure", head)
    assert re.search(r"(?im)^set-cookie: __Host-sess=pgpt_[^;]*; path=/;.*; *secure", head)


def test_logout_takes_the_cookie_back(stack):
    token, _ = stack.signup()
    answer = call(stack.url, "GET", "/user/logout", headers={"Cookie": f"sess={token}"})
    assert answer.status == 200 and answer.json == {}
    pair, attributes = cookie_of(answer)
    assert pair == "sess=" and "max-age=0" in attributes


# Sessions


def test_a_session_lasts_thirty_days_from_its_last_use(stack):
    token, user = stack.signup()
    answer = call(stack.url, "GET", "/user/session", token=token).json
    assert set(answer) == {"user", "session"} and answer["user"] == user
    session = answer["session"]
    assert set(session) == {"id", "created_at", "last_used_at", "expires_at"}
    lasts = moment(session["expires_at"]) - moment(session["last_used_at"])
    assert lasts == datetime.timedelta(days=30)
    # The time of use is written at most once an hour.
    again = call(stack.url, "POST", "/user/session", token=token).json["session"]
    assert again == session


def test_a_session_that_ended_is_over_for_every_worker_at_once(stack):
    """Connections that stay with the worker that took them ask before and after the logout."""
    token, _ = stack.signup()
    request = fastcgi.request_bytes("GET", "/user/session", token, keep=True)
    files = [client.open_files(process) for process in stack.workers]

    def has_everybody():
        now = [client.open_files(process) for process in stack.workers]
        return all(after > before for before, after in zip(files, now))

    with contextlib.ExitStack() as opened:
        kept = []
        while not has_everybody() and len(kept) < 100:
            kept.append(opened.enter_context(fastcgi.dial(stack.fastcgi_socket)))
            kept[-1].sendall(request)
            assert fastcgi.read_answer(kept[-1]).status == 200
        assert has_everybody(), "one worker takes all connections"
        assert call(stack.url, "POST", "/user/logout", token=token).status == 200
        for connection in kept:
            connection.sendall(request)
            assert fastcgi.read_answer(connection).status == 401


@pytest.mark.parametrize("how", ["bearer", "cookie", "basic", "form", "json", "query"])
def test_logout_takes_the_token_in_every_way(stack, how):
    name = "leaver-" + how
    token, _ = stack.signup(name)
    options = {
        "bearer": {"token": token},
        "cookie": {"headers": {"Cookie": f"sess={token}"}},
        "basic": {"headers": {"Authorization": basic(name, token)}},
        "form": {"form": {"token": token}},
        "json": {"json": {"token": token}},
        "query": {},
    }[how]
    path = f"/user/logout?token={token}" if how == "query" else "/user/logout"
    assert is_live(stack, token)
    assert call(stack.url, "POST", path, **options).json == {}
    assert not is_live(stack, token)
    check_error(call(stack.url, "POST", path, **options), 401, "unauthorized")


def test_a_logout_leaves_the_users_other_sessions_alone(stack):
    first, user = stack.signup()
    second = log_in(stack, user["username"]).json["token"]
    assert call(stack.url, "POST", "/user/logout", token=first).status == 200
    assert not is_live(stack, first) and is_live(stack, second)


# Changes


def test_update_changes_what_is_given_and_keeps_what_is_absent(stack):
    token, user = stack.signup("before")
    changed = call(stack.url, "POST", "/user/update", token=token, form={"first_name": "Ana"}).json
    assert changed == user | {"first_name": "Ana", "updated_at": changed["updated_at"]}
    assert moment(changed["updated_at"]) >= moment(user["updated_at"])
    names = {"username": "After", "last_name": "Sol"}
    changed = call(stack.url, "POST", "/user/update", token=token, json=names).json
    shown = (changed["username"], changed["first_name"], changed["last_name"])
    assert shown == ("After", "Ana", "Sol")
    assert call(stack.url, "GET", "/user/read", token=token).json == changed
    check_error(log_in(stack, "before"), 401)
    assert log_in(stack, "after").status == 200
    assert sign_up(stack, "before").status == 200


def test_update_refuses_the_name_of_another_user(stack, token):
    mine, user = stack.signup()
    answer = call(stack.url, "POST", "/user/update", token=mine, form={"username": "SHARED"})
    check_error(answer, 409, "conflict")
    other_case = user["username"].upper()
    answer = call(stack.url, "POST", "/user/update", token=mine, form={"username": other_case})
    assert answer.json["username"] == other_case


def test_a_new_password_ends_all_other_sessions(stack):
    token, user = stack.signup()
    others = [log_in(stack, user["username"]).json["token"] for _ in range(2)]
    wrong = {"old_password": "password-2", "new_password": "password-3"}
    check_error(
        call(stack.url, "POST", "/user/password/update", token=token, form=wrong),
        401,
        "unauthorized",
    )
    short = {"old_password": "password-1", "new_password": "1234567"}
    check_error(
        call(stack.url, "POST", "/user/password/update", token=token, form=short),
        400,
        "invalid_request",
        "new_password",
    )
    assert all(is_live(stack, other) for other in others)
    right = {"old_password": "password-1", "new_password": "password-3"}
    assert call(stack.url, "POST", "/user/password/update", token=token, form=right).json == {}
    assert is_live(stack, token)
    assert not any(is_live(stack, other) for other in others)
    check_error(log_in(stack, user["username"]), 401, "unauthorized")
    assert log_in(stack, user["username"], "password-3").status == 200


def test_a_stranger_and_nobody_look_the_same(stack, token):
    _, stranger = stack.signup()
    answers = [
        call(stack.url, "GET", f"/user/read?id={id}", token=token)
        for id in (stranger["id"], str(uuid.uuid4()), "x", stranger["username"])
    ]
    for answer in answers:
        check_error(answer, 404, "not_found")
    assert len({answer.body for answer in answers}) == 1


def test_reading_oneself_by_id_is_reading_oneself(stack):
    token, user = stack.signup()
    for body in ({"id": user["id"]}, {}):
        assert call(stack.url, "POST", "/user/read", token=token, form=body).json == user


# Closed sign-up, and sessions that ran out


def test_sign_up_can_be_closed_and_sessions_run_out(tmp_path):
    with Stack(workers=1, mock=False, settings={"API_URL": "http://127.0.0.1:9"},
               state_directory=tmp_path) as first:  # fmt: skip
        old, _ = first.signup("keeper")
        kept = log_in(first, "keeper").json["token"]
        expired = call(first.url, "GET", "/user/session", token=old).json["session"]["id"]
        database.stop_workers(first)
        changed = database.change(
            first, "UPDATE sessions SET expires_at = last_used_at - 1 WHERE id = ?", expired
        )
        assert changed == 1
    settings = {"API_URL": "http://127.0.0.1:9", "SIGNUP": "closed", "SESSION_DAYS": "2"}
    with Stack(workers=1, mock=False, settings=settings, state_directory=tmp_path) as second:
        check_error(sign_up(second, "newcomer"), 403, "forbidden")
        check_error(call(second.url, "GET", "/user/session", token=old), 401, "unauthorized")
        assert is_live(second, kept)
        answer = log_in(second, "keeper")
        assert f"max-age={2 * 86400}" in cookie_of(answer)[1]
        session = call(second.url, "GET", "/user/session", token=answer.json["token"]).json[
            "session"
        ]
        lasts = moment(session["expires_at"]) - moment(session["last_used_at"])
        assert lasts == datetime.timedelta(days=2)
