"""Behind a PgBouncer in transaction mode all works with DB_PREPARED=off, and nothing starts without."""

import subprocess
import threading

import cluster
import pgbouncer
import pytest
from client import call
from pgbouncer import PgBouncer
from person import Person
from sse import Stream
from stack import Stack, StackError, wait_for

pytestmark = pytest.mark.skipif(
    not (cluster.is_installed() and pgbouncer.is_installed()), reason="no PostgreSQL or PgBouncer"
)


@pytest.fixture(scope="module")
def server():
    return cluster.shared()


def database(server, name):
    return server.database(f"pgbouncer-{name}")


def test_with_few_connections_of_the_server_many_tasks_get_what_is_theirs(server):
    name = database(server, "off")
    # Twelve connections of three processes share three of the server's.
    with (
        PgBouncer(server, name) as bouncer,
        Stack(database=(bouncer, name), settings={"DB_PREPARED": "off"}) as stack,
    ):
        people = [Person(stack) for _ in range(6)]
        failures = []

        def work(person, number):
            try:
                chat = person.chat(model="mock")
                for turn in range(6):
                    message = person.prompt(chat, f"{number}-{turn}")
                    assert message["state"] == "done"
                    assert person.message(chat, message["id"])["prompt"] == f"{number}-{turn}"
                    assert call(stack.url, "GET", "/v1/models", token=person.token).status == 200
            except Exception as error:
                failures.append(error)

        threads = [
            threading.Thread(target=work, args=(person, number))
            for number, person in enumerate(people * 2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[:3]
        chat = people[0].chat(model="mock")
        with Stream(stack.url, chat, people[0].token).begin() as stream:
            sent = people[0].prompt(chat, "streamed")
            (last,) = stream.finished()
            assert last["id"] == sent["id"]
        found = server.rows(name, "SELECT COUNT(*) AS count FROM messages WHERE state = 'done'")
        assert found == [{"count": 12 * 6 + 1}]
        code, out, err = stack.admin("doctor", settings={"DB_PREPARED": "off"})
        assert code == 0, out + err


def test_each_transaction_has_its_settings_and_leaves_none_behind(server):
    name = database(server, "settings")
    server.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with (
        PgBouncer(server, name, size=2) as bouncer,
        Stack(database=(bouncer, name), settings={"DB_PREPARED": "off"}, workers=1) as stack,
    ):
        server.run(
            """
            CREATE TABLE seen (place text, commits text, patience text);
            CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
                BEGIN
                    INSERT INTO public.seen VALUES (TG_TABLE_NAME,
                        current_setting('synchronous_commit'), current_setting('statement_timeout'));
                    RETURN NULL;
                END $$;
            CREATE TRIGGER look AFTER INSERT ON users EXECUTE FUNCTION look();
            CREATE TRIGGER look AFTER INSERT ON events EXECUTE FUNCTION look();
            """,
            name,
        )
        stack.signup()

        def seen():
            rows = server.rows(name, "SELECT DISTINCT place, commits, patience FROM seen")
            return {row["place"]: (row["commits"], row["patience"]) for row in rows}

        wait_for(lambda: len(seen()) == 2, "a row of each kind")
        assert seen() == {"users": ("on", "5s"), "events": ("on", "5s")}
        for _ in range(3):
            done = subprocess.run(
                ["psql", "-X", "-A", "-t", bouncer.address(name)],
                input="SHOW synchronous_commit; SHOW statement_timeout; SHOW jit;",
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.stdout.split() == ["off", "0", "on"], done


def test_what_needs_sessions_does_not_start_and_the_setting_is_named(server, capsys):
    name = database(server, "on")
    for size in (3, 1):
        with PgBouncer(server, name, size=size) as bouncer:
            if size == 3:
                with pytest.raises(StackError):
                    Stack(database=(bouncer, name), workers=1, nginx=False).start()
                assert "DB_PREPARED=off" in capsys.readouterr().err
            stack = Stack(database=(server, name), workers=0, nginx=False, streamer=False)
            with stack:
                address = bouncer.address(name)
                code, _, err = stack.admin("list", settings={"DB_ADDRESS": address})
                assert code == 1 and "DB_PREPARED=off" in err


def test_a_pooler_of_sessions_is_as_good_as_none(server):
    name = database(server, "session")
    with (
        PgBouncer(server, name, mode="session", size=20) as bouncer,
        Stack(database=(bouncer, name), workers=1) as stack,
    ):
        person = Person(stack)
        assert person.prompt(person.chat(model="mock"), "hello")["state"] == "done"
