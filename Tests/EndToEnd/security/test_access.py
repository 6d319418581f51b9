"""Rights: credentials and their order, cross-site requests, and the delay after failed logins."""

import time

import pytest
from client import basic, call, check_error, rate_limited
from stack import wait_for

DATABASES = ("sqlite", "postgresql+redis")

FOREIGN = {"Origin": "https://evil.example"}
NULL = {"Origin": "null"}
CROSS = {"Sec-Fetch-Site": "cross-site"}
SAME_SITE = {"Sec-Fetch-Site": "same-site"}
# As a token looks, and nobody's.
WRONG = "pgpt_" + "A" * 43


def log_in(stack, username, password="password-1", **options):
    form = {"username": username, "password": password}
    return call(stack.url, "POST", "/user/login", form=form, **options)


# A credential comes before everything


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("GET", "/user/session", None),
        ("POST", "/user/update", "first_name=%zz"),
        ("DELETE", "/user/update", None),
        ("POST", "/user/read", '{"id": '),
        ("GET", "/nowhere", None),
        ("GET", "/web", None),
        ("GET", "/chat/stream?token=x", None),
        ("GET", "/v1/models", None),
        ("POST", "/v1/chat/completions", "{}"),
        ("DELETE", "/v1/files/file-1", None),
        ("HEAD", "/v1/echo", None),
    ],
)
def test_without_a_credential_there_is_nothing_but_401(stack, method, path, body):
    stack.mock_delete("/mock/calls")
    answer = call(stack.url, method, path, body=body)
    assert answer.status == 401 and answer.header("WWW-Authenticate").startswith("Bearer")
    assert answer.header("X-Request-Id")
    if method != "HEAD":
        check_error(answer, 401, "unauthorized")
    assert stack.mock("/mock/calls") == []


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer", "Bearer ", "Bearer nonsense", "Bearer a b", "Digest x", "nonsense", "Basic",
        "Basic !!!!", "Basic bm9jb2xvbg==", "Basic //4=", "Basic Og==", "bearer \xe9",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/user/session", "/v1/models"])
def test_a_credential_that_is_none_is_401(stack, pool, path, authorization):
    answer = call(stack.url, "GET", path, headers={"Authorization": authorization})
    check_error(answer, 401, "unauthorized")
    assert answer.header("WWW-Authenticate").startswith("Bearer")


@pytest.mark.parametrize(
    "cookie", ["sess=", "sess", "sess=x", "sess=%00", ";;;", "=", "sess=a; sess=b", "SESS=x", "é"]
)
def test_a_cookie_that_is_none_is_401(stack, pool, cookie):
    answer = call(stack.url, "GET", "/user/session", headers={"Cookie": cookie.encode()})
    check_error(answer, 401, "unauthorized")


def test_a_token_is_compared_in_full(stack, token):
    for wrong in (token[:-1], token + "A", token.upper(), token[5:], token[:-1] + "~"):
        check_error(call(stack.url, "GET", "/v1/models", token=wrong), 401, "unauthorized")


def test_the_first_credential_present_decides(stack, token):
    good, bad, wrong = f"Bearer {token}", "Bearer wrong", f"Bearer {WRONG}"
    good_basic = basic("shared", token)

    def status(*headers):
        return call(stack.url, "GET", "/user/session", headers=headers).status

    assert status(("Authorization", good), ("Cookie", "sess=wrong")) == 200
    assert status(("Authorization", wrong), ("Cookie", f"sess={token}")) == 401
    assert status(("Authorization", basic("shared", WRONG)), ("Cookie", f"sess={token}")) == 401
    # These are no tokens of ours: a front has added them.
    assert status(("Authorization", bad), ("Cookie", f"sess={token}")) == 200
    assert status(("Authorization", good_basic), ("Cookie", "sess=wrong")) == 200
    assert status(("Authorization", basic("staff", "secret")), ("Cookie", f"sess={token}")) == 200
    assert status(("Authorization", bad), ("Cookie", f"sess={WRONG}")) == 401
    assert status(("Cookie", f"a=b; sess={token}; c=d")) == 200
    # Another application on the same host name has a cookie of the same name, or several.
    assert status(("Cookie", f"sess=abc123; sess={token}")) == 200
    assert status(("Cookie", f"sess={WRONG}; sess={token}")) == 200
    assert status(("Cookie", f"sess={WRONG}; __Host-sess={token}")) == 200
    others = "; ".join(f"sess={WRONG[:-1]}{number}" for number in range(4))
    assert status(("Cookie", f"{others}; sess={token}")) == 401
    # The query's token counts on /chat/stream alone.
    assert call(stack.url, "GET", f"/user/session?token={token}").status == 401
    assert call(stack.url, "GET", f"/v1/models?token={token}").status == 401


def test_the_scheme_of_a_credential_has_no_case(stack, token):
    for value in (f"bearer {token}", f"BEARER {token}", basic("Shared", token)):
        assert call(stack.url, "GET", "/v1/models", headers={"Authorization": value}).status == 200


def test_the_user_name_of_basic_must_be_the_tokens_own(stack, token):
    for name in ("somebody", "", "share"):
        headers = {"Authorization": basic(name, token)}
        answer = call(stack.url, "GET", "/user/session", headers=headers)
        check_error(answer, 401, "unauthorized")


# Cross-site


@pytest.mark.parametrize(
    "page", [FOREIGN, NULL, CROSS, SAME_SITE], ids=["foreign", "null", "fetch", "site"]
)
@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "/user/update"),
        ("POST", "/user/password/update"),
        ("POST", "/user/logout"),
        ("GET", "/user/logout"),
        ("POST", "/v1/chat/completions"),
        ("DELETE", "/v1/echo"),
    ],
)
def test_a_foreign_page_cannot_act_with_the_cookie(stack, token, method, path, page):
    headers = {"Cookie": f"sess={token}", **page}
    check_error(call(stack.url, method, path, headers=headers), 403, "forbidden")
    assert call(stack.url, "GET", "/user/session", token=token).status == 200


@pytest.mark.parametrize(
    "page", [FOREIGN, NULL, CROSS, SAME_SITE], ids=["foreign", "null", "fetch", "site"]
)
@pytest.mark.parametrize("path", ["/user/login", "/user/signup"])
def test_a_foreign_page_cannot_set_the_cookie(stack, token, path, page):
    form = {"username": "shared", "password": "password-1"}
    answer = call(stack.url, "POST", path, form=form, headers=page)
    check_error(answer, 403, "forbidden")
    assert not answer.all("Set-Cookie")


def test_our_own_page_may_use_the_cookie(stack, token):
    address = stack.url
    for origin in ({"Origin": address}, {"Origin": address.upper().replace("HTTP", "http")}):
        headers = {"Cookie": f"sess={token}", "Sec-Fetch-Site": "same-origin", **origin}
        assert call(stack.url, "POST", "/user/session", headers=headers).status == 200
        assert log_in(stack, "shared", headers=origin).status == 200
    headers = {"Cookie": f"sess={token}", "Origin": "http://127.0.0.1:1"}
    check_error(call(stack.url, "POST", "/user/session", headers=headers), 403, "forbidden")


def test_a_link_or_an_image_cannot_log_out(stack, token):
    for sign in ({"Accept": "text/html,*/*;q=0.8"}, CROSS, SAME_SITE):
        headers = {"Cookie": f"sess={token}", **sign}
        check_error(call(stack.url, "GET", "/user/logout", headers=headers), 403, "forbidden")
    assert call(stack.url, "GET", "/user/session", token=token).status == 200


def test_paths_that_give_out_the_account_are_closed(stack, token):
    stack.mock_delete("/mock/calls")
    for path in ("/v1/organization/users", "/v1/%6Frganization/users", "/v1/Projects"):
        answer = call(stack.url, "GET", path, token=token)
        check_error(answer, 403, "path_closed")
        assert "V1_PATHS=+/" in answer.error["message"]
    assert stack.mock("/mock/calls") == []


def test_a_bearer_token_is_no_cookie_and_may_come_from_anywhere(stack, token):
    for page in (FOREIGN, NULL, CROSS):
        answer = call(stack.url, "POST", "/user/update", token=token, headers=page, form={})
        assert answer.status == 200
        answer = call(stack.url, "POST", "/v1/echo", token=token, headers=page, body=b"x")
        assert answer.status == 200
        assert not answer.all("Access-Control-Allow-Origin")


def test_following_a_link_from_elsewhere_is_no_attack(stack, token):
    headers = {"Cookie": f"sess={token}", "Sec-Fetch-Site": "cross-site"}
    assert call(stack.url, "GET", "/user/session", headers=headers).status == 200
    assert call(stack.url, "GET", "/v1/models", headers=headers).status == 200


# Failed logins. All from one address block, whose own limit these few must not reach.


def fail(stack, username, **options):
    return log_in(stack, username, "wrong password", **options)


def fail_five_times(attempt):
    """Five free failures; when the last of them began."""
    for _ in range(5):
        begun = time.monotonic()
        check_error(attempt(), 401, "unauthorized")
    return begun


def test_five_failures_are_free_then_the_wait_grows(stack):
    _, user = stack.signup()
    _, other = stack.signup()
    name = user["username"]
    begun = fail_five_times(lambda: fail(stack, name.upper()))
    wait = rate_limited(lambda: fail(stack, name), begun)
    # Neither another account nor a session of the user feels it.
    assert log_in(stack, other["username"]).status == 200

    def is_let_in():
        started = time.monotonic()
        return fail(stack, name).status == 401 and started

    again = wait_for(is_let_in, "the first wait's end")
    assert time.monotonic() - begun >= wait
    # The right password waits as well, and twice as long.
    asked = time.monotonic()
    answer = log_in(stack, name)
    if asked - again < 2 * wait:
        check_error(answer, 429, "rate_limited")
        assert 1 <= int(answer.header("Retry-After")) <= 2 * wait
    # A caller elsewhere waits for two seconds at most, and the owner gets in.
    elsewhere = log_in(stack, name, source="127.0.0.2")
    assert elsewhere.status == 200 or int(elsewhere.header("Retry-After")) <= 2
    wait_for(lambda: log_in(stack, name).status == 200, "the second wait's end")
    if elsewhere.status != 200:
        assert time.monotonic() - again >= 2 * wait
    # A success forgets: five more are free.
    begun = fail_five_times(lambda: fail(stack, name))
    rate_limited(lambda: fail(stack, name), begun)


def test_unknown_names_wait_like_known_ones(stack):
    begun = fail_five_times(lambda: fail(stack, "nobody-of-this-name"))
    rate_limited(lambda: fail(stack, "nobody-of-this-name"), begun)
    _, user = stack.signup()
    known, unknown = fail(stack, user["username"]), fail(stack, "nobody-either")
    assert known.body == unknown.body


def test_a_wrong_old_password_counts_as_a_failed_login(stack):
    token, user = stack.signup()
    form = {"old_password": "wrong password", "new_password": "password-2"}

    def change():
        return call(stack.url, "POST", "/user/password/update", token=token, form=form)

    begun = fail_five_times(change)
    wait = rate_limited(change, begun)
    rate_limited(lambda: fail(stack, user["username"]), begun, wait)
