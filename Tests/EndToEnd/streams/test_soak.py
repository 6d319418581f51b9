"""Forty faults under running replies; `make soak` makes a thousand of them."""

import pytest
from soak import Soak, whole_reply
from views import View, Wrong

DATABASES = ("sqlite", "postgresql+redis")

A, B = "message-a", "message-b"


def test_nobody_misses_a_frame_whatever_is_killed(record_property, make_stack):
    report = Soak(seed=4, faults=40, progress=print, make_stack=make_stack).run()
    for name, value in report.items():
        record_property(name, value)
        print(f"{name}: {value}")
    assert report["faults"] == 40
    assert report["resets"] == 0
    assert report["failed"] and report["done"]


# The judge himself


def words(key, text):
    return {"message": {"id": key, "reply": text, "state": "streaming"}, "partial": True}


def last(key, text, state="done"):
    return {"message": {"id": key, "reply": text, "state": state}, "partial": False}


def view():
    return View("a view", "e1-4", lambda key: "one two" if key == A else None)


def take(judge, *frames):
    for id, data in frames:
        judge.take(data == {"reset": True}, id, data)


def test_a_view_takes_what_may_be_seen():
    judge = view()
    take(judge, ("e1-5", words(A, "one")), ("e1-9", words(A, " two")))
    take(judge, ("e1-10", last(A, "one two")))
    assert judge.check(last(A, "one two")["message"])
    # After a reset everything may be told anew.
    take(judge, ("e1-11", words(B, "x")), ("reset-0", {"reset": True}))
    take(judge, ("reset-0", last(A, "one two")), ("e1-12", words(B, "xy")))
    take(judge, ("e1-13", last(B, "xyz")))


@pytest.mark.parametrize(
    "frames",
    [
        [("e1-5", words(A, "one")), ("e1-5", words(A, " two"))],
        [("e1-5", words(A, "one")), ("e1-4", words(B, "x"))],
        [("e1-5", words(A, "one")), ("e2-6", words(A, " two"))],
        [("e1-5", words(A, "one")), ("e1-6", words(A, "one"))],
        [("e1-5", words(A, "two"))],
        [("e1-5", last(A, "one two")), ("e1-6", last(A, "one two"))],
        [("e1-5", last(A, "one two")), ("e1-6", words(A, "one"))],
        [("e1-5", last(B, "x")), ("reset-0", {"reset": True}), ("reset-0", last(B, "y"))],
    ],
)
def test_a_view_complains_of_what_may_not(frames):
    with pytest.raises(Wrong):
        take(view(), *frames)


def test_a_view_complains_of_what_is_missing():
    judge = view()
    take(judge, ("e1-5", words(A, "one")))
    with pytest.raises(Wrong):
        judge.check(last(A, "one two")["message"])
    take(judge, ("e1-6", last(A, "one two", "failed")))
    with pytest.raises(Wrong):
        judge.check(last(A, "one two")["message"])


def test_what_the_upstream_says_is_known_beforehand():
    assert whole_reply("0 1 ").startswith("echo: 0 1  amet consectetur adipiscing")
