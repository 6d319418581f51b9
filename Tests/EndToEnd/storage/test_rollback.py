"""A state directory, or a database, that is put back to what it was: old ids lead to a reset, and never to a
hole that nobody hears of."""

import shutil

import cluster
import pytest
from person import Person
from redis_server import Redis
from sse import Stream
from stack import Stack


class Files:
    """A state directory with everything in it."""

    def __init__(self, directory):
        self.state, self._copy = directory / "state", directory / "copy"
        self.settings = {}

    def stack(self):
        return Stack(workers=1, state_directory=self.state, settings=self.settings)

    def keep(self):
        shutil.copytree(self.state, self._copy)

    def put_back(self):
        # Over what is there, with the same inodes, as `rsync --inplace --delete` has it.
        for path in self.state.iterdir():
            if path.is_file() and not (self._copy / path.name).exists():
                path.unlink()
        for path in self._copy.iterdir():
            if path.is_file():
                shutil.copyfile(path, self.state / path.name)


class Server:
    """A database on a server, beside a Redis that knows nothing of what becomes of it."""

    def __init__(self, redis):
        self._server = cluster.shared()
        self._name = self._server.database("rollback")
        self._settings = {"REDIS_ADDRESS": redis.address}

    def stack(self):
        place = (self._server, self._name)
        return Stack(workers=1, settings=self._settings, database=place)

    def keep(self):
        self._server.run(f"CREATE DATABASE {self._name}_copy TEMPLATE {self._name}")

    def put_back(self):
        self._server.run(f"DROP DATABASE {self._name}")
        self._server.run(f"ALTER DATABASE {self._name}_copy RENAME TO {self._name}")


@pytest.fixture(params=["files", "server"])
def place(request, tmp_path):
    if request.param == "files":
        yield Files(tmp_path)
    else:
        with Redis() as redis:
            yield Server(redis)


def test_an_id_of_before_a_roll_back_leads_to_a_reset(place):
    with place.stack() as stack:
        person = Person(stack)
        chat = person.chat()
        person.prompt(chat, "one")
    place.keep()
    with place.stack() as stack:
        person = person.at(stack)
        with Stream(stack.url, chat, person.token).begin() as stream:
            for prompt in ("two", "three"):
                person.prompt(chat, prompt)
            stream.finished(2)
            old = stream.last_id
    place.put_back()
    with place.stack() as stack:
        person = person.at(stack)
        later = [f"later {number}" for number in range(8)]
        for prompt in later:
            person.prompt(chat, prompt)
        headers = [("Last-Event-ID", old)]
        with Stream(stack.url, chat, person.token, headers=headers) as stream:
            stream.finished(1 + len(later))
            assert stream.events[0][0] == "reset", stream.events[:2]
            assert [message["prompt"] for message in stream.ends] == ["one", *later]
