"""Fills a database for growth.py: the same world at any size, made by a few statements on SQLite and PostgreSQL.

A few people sign up before and are named in `people`; everybody and everything else are rows of which number n is
always the same. Chats of those few are the oldest, so that no list is short because the newest rows are the right ones.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time

# Rows of the whole size, by what they are called in the options of `make growth`.
WHOLE = {
    "users": 100_000, "messages": 5_000_000, "events": 3_000_000, "chats": 200_000, "many": 100_000,
    "some": 20_000, "long": 100_000, "groups": 5_000, "sessions": 20_000,
}  # fmt: skip
# Bytes that a row takes on either database with its indexes, rounded up.
BYTES = {
    "users": 1200, "messages": 1500, "events": 750, "chats": 1500, "many": 3000, "some": 4500, "long": 0,
    "groups": 8000, "sessions": 400,
}  # fmt: skip
DAY = 86_400_000
SPAN = 390 * DAY
BATCH = 250_000
# Groups of the person in several.
SPREAD = 20
# Beside the rows: logs of either database, and what sorting takes.
ROOM = 3 << 30

TEXT = (
    "Spain is a country in southwestern Europe with territories in the Atlantic and in Africa. It takes most of the"
    " Iberian Peninsula, and its capital is Madrid. Its climate is Mediterranean along the coasts and continental"
    " inland; the plateau of the Meseta is dry and hot in summer. Regions such as Andalusia, Catalonia and Galicia"
    " have languages and kitchens of their own. Visitors come for the museums, the beaches and the pilgrims' way to"
    " Santiago. The economy rests on services, cars, chemistry and farming; olives, wine and fruit are sold abroad. "
) * 3


def sizes(scale):
    """How many rows there are of each kind."""
    return {name: max(5, round(count * scale)) for name, count in WHOLE.items()}


def estimate(scale):
    """Bytes of one database, filled."""
    return sum(count * BYTES[name] for name, count in sizes(scale).items())


def demand_room(directory, scale):
    """Ends the program where the disk has less than what is needed; else says what that is."""
    needed, free = estimate(scale) + ROOM, shutil.disk_usage(directory).free
    text = f"up to {needed / 1e9:.1f} GB of {directory}, of which {free / 1e9:.1f} GB are free"
    if free < needed + (2 << 30):
        raise SystemExit(f"this takes {text}, and 2 GB are to be left: name another place in TMPDIR, or SCALE=")
    print(f"takes {text}; all of it is removed in the end", flush=True)


class Words:
    """What the databases call differently. All arguments are expressions."""

    def __init__(self, has_server):
        self.has_server = has_server

    def hexadecimal(self, number):
        return f"lpad(to_hex({number}), 12, '0')" if self.has_server else f"printf('%012x', {number})"

    def decimal(self, number):
        return f"lpad(({number})::text, 12, '0')" if self.has_server else f"printf('%012d', {number})"

    def blob(self, text):
        return f"convert_to({text}, 'UTF8')" if self.has_server else f"CAST({text} AS BLOB)"

    def random_hexadecimal(self):
        return "replace(gen_random_uuid()::text, '-', '')" if self.has_server else "lower(hex(randomblob(16)))"

    def random_bytes(self):
        return "sha256(gen_random_uuid()::text::bytea)" if self.has_server else "randomblob(32)"

    def numbers(self, first, end):
        if self.has_server:
            return f"(SELECT generate_series({first}::bigint, {end - 1}) AS n) AS numbers"
        recursion = f"VALUES ({first}) UNION ALL SELECT n + 1 FROM numbers WHERE n < {end - 1}"
        return f"(WITH RECURSIVE numbers (n) AS ({recursion}) SELECT n FROM numbers) AS numbers"

    def identifier(self, kind, number, moment):
        """As a UUID of version 7: begins with the milliseconds."""
        head = self.hexadecimal(moment)
        return f"(substr({head}, 1, 8) || '-' || substr({head}, 9) || '-7{kind}-8000-' || {self.decimal(number)})"


def identifier(kind, number, moment):
    """The same as a text."""
    head = f"{moment:012x}"
    return f"{head[:8]}-{head[8:]}-7{kind}-8000-{number:012d}"


def noise(number, salt):
    """20 bits that look like chance."""
    return f"((({number}) * 2654435761 + {salt} * 97531) % 4294967296 / 4096)"


class World:
    """The rows of one database of one size."""

    def __init__(self, scale, people, groups, has_server, now=None):
        self.sizes, self.people, self.groups = sizes(scale), people, groups
        self.words = Words(has_server)
        self.begin = (now or int(time.time() * 1000)) - SPAN
        count = self.sizes
        # The numbers of chats, which are their `seq` as well; the API has made some already.
        self.first_chat = 1000
        ends, end = {}, self.first_chat
        for name, length in (("own many", "many"), ("own some", "some"), ("group many", "many"),
                             ("group some", "some"), ("spread", "many"), ("rest", "chats")):  # fmt: skip
            ends[name] = (end, end + count[length])
            end += count[length]
        self.chats, self.chat_end = ends, end
        self.round_robin = count["messages"] - count["long"]

    def moment(self, number, count):
        return f"({self.begin} + ({number}) * {SPAN // count})"

    def chat_identifier(self, number):
        count = self.chat_end - self.first_chat
        moment = self.begin + (number - self.first_chat) * (SPAN // count)
        return identifier("cc0", number, moment)

    def message_identifier(self, number):
        return identifier("ee0", number, self.begin + number * (SPAN // self.sizes["messages"]))

    def user(self, number):
        return self.words.identifier("aa0", number, self.moment(number, self.sizes["users"]))

    def group(self, number):
        return self.words.identifier("bb0", number, self.moment(number, self.sizes["groups"]))

    def spread(self, number):
        return self.words.identifier("bb1", number, str(self.begin))

    def frequent(self, number, salt, count):
        """A number below `count`: a few of them very often, most of them seldom."""
        value = noise(number, salt)
        return f"({value} * {value} / 1048576 * {value} / 1048576 * {count} / 1048576)"

    def statements(self, chat_of_long):
        """Labels with statements, in order."""
        yield from self.accounts()
        yield from self.conversations()
        yield from self.texts(chat_of_long)
        yield from self.records()
        last_group = 1000 + self.sizes["groups"]
        yield "counters", f"UPDATE counters SET value = {self.chat_end} WHERE name = 'chats'"
        yield "counters", f"UPDATE counters SET value = {last_group} WHERE name = 'groups'"

    def accounts(self):
        words, count, now = self.words, self.sizes, self.begin + SPAN
        users = count["users"]
        moment, owner = self.moment("n", users), self.people["owner"]
        for first, end in batches(users):
            yield "users", f"""INSERT INTO users (id, username, folded_name, first_name, last_name, role,
                password_hash, created_at, updated_at) SELECT {self.user('n')}, 'filler-' || n, 'filler-' || n,
                'First' || n, 'Last', 'user', (SELECT password_hash FROM users WHERE id = '{owner}'),
                {moment}, {moment} FROM {words.numbers(first, end)}"""
        insert = "INSERT INTO sessions (id, user_id, token_digest, created_at, last_used_at, expires_at)"
        rest = f"{words.random_bytes()}, {now - DAY}, {now - DAY}, {now + 29 * DAY}"
        for kind, user, number in (("dd0", self.user("n"), users), ("dd1", self.quoted("devices"), count["sessions"])):
            name = words.identifier(kind, "n", f"{now - DAY} + n % {DAY}")
            for first, end in batches(number):
                yield "sessions", f"{insert} SELECT {name}, {user}, {rest} FROM {words.numbers(first, end)}"
        groups, all_groups = count["groups"], words.numbers(0, count["groups"])
        moment = self.moment("n", groups)
        yield "groups", f"""INSERT INTO groups (id, seq, name, description, owner_id, created_at, updated_at)
            SELECT {self.group('n')}, 1000 + n, 'group ' || n, 'A group.', {self.user(self.member('n', 0))},
            {moment}, {moment} FROM {all_groups}"""
        place = "(SELECT n AS k FROM " + words.numbers(0, min(20, users)) + ") AS places"
        yield "groups", f"""INSERT INTO group_members (group_id, user_id, created_at)
            SELECT {self.group('n')}, {self.user(self.member('n', 'k'))}, {moment}
            FROM {all_groups} CROSS JOIN {place}"""
        # Groups of many chats between them, with one member that is in all.
        spread, all_spread = self.spread("n"), words.numbers(0, SPREAD)
        yield "groups", f"""INSERT INTO groups (id, seq, name, description, owner_id, created_at, updated_at)
            SELECT {spread}, 500 + n, 'spread ' || n, 'A group.', {self.quoted('lead')}, {now}, {now}
            FROM {all_spread}"""
        for person in ("lead", "spread"):
            yield "groups", f"""INSERT INTO group_members (group_id, user_id, created_at)
                SELECT {spread}, {self.quoted(person)}, {now} FROM {all_spread}"""
        members = words.numbers(0, max(5, users // 10))
        for name in ("many", "some"):
            yield "groups", f"""INSERT INTO group_members (group_id, user_id, created_at)
                SELECT '{self.groups[name]}', {self.user('n')}, {now} FROM {members}"""

    def member(self, group, place):
        return f"(({group}) * 7919 + {place}) % {self.sizes['users']}"

    def quoted(self, person):
        return f"'{self.people[person]}'"

    def conversations(self):
        count, words = self.sizes, self.words
        chats = self.chat_end - self.first_chat
        moment = self.moment(f"n - {self.first_chat}", chats)
        even, over = divmod(self.round_robin, chats)
        messages = f"{even} + CASE WHEN n - {self.first_chat} < {over} THEN 1 ELSE 0 END"
        group = f"{noise('n', 5)} % {count['groups']}"
        is_group = f"{noise('n', 6)} % 5 = 0"
        owners = {
            "own many": (self.quoted("owner"), "NULL"), "own some": (self.quoted("owner20"), "NULL"),
            "group many": (self.quoted("lead"), f"'{self.groups['many']}'"),
            "group some": (self.quoted("lead20"), f"'{self.groups['some']}'"),
            "spread": (self.quoted("lead"), self.spread(f"n % {SPREAD}")),
            "rest": (
                f"CASE WHEN {is_group} THEN {self.user(self.member(group, 0))}"
                f" ELSE {self.user(self.frequent('n', 7, count['users']))} END",
                f"CASE WHEN {is_group} THEN {self.group(group)} END",
            ),
        }  # fmt: skip
        for name, (first, end) in self.chats.items():
            user, group = owners[name]
            for start, stop in batches(end, first):
                yield "chats", f"""INSERT INTO chats (id, seq, name, model, user_id, group_id, context_version,
                    last_message_seq, created_at, updated_at)
                    SELECT {words.identifier('cc0', 'n', moment)}, n, 'A chat about Spain', 'gpt-3', {user}, {group},
                    {messages}, {messages}, {moment}, {moment} FROM {words.numbers(start, stop)}"""
        insert = "INSERT INTO chat_users (chat_id, user_id, created_at, seq, owner_id, group_id)"
        places = (
            ("own many", "joined", "1 = 1"), ("own some", "joined20", "1 = 1"), ("group some", "placed", "1 = 1"),
            ("own some", "even", "seq % 2 = 0"), ("own some", "odd", "seq % 2 = 1"),
        )  # fmt: skip
        for name, person, condition in places:
            first, end = self.chats[name]
            yield "places in chats", f"""{insert} SELECT id, {self.quoted(person)}, created_at, seq, user_id, group_id
                FROM chats WHERE seq >= {first} AND seq < {end} AND {condition}"""
        first, end = self.chats["rest"]
        yield "places in chats", f"""{insert} SELECT id, added, created_at, seq, user_id, group_id FROM (
            SELECT chats.*, {self.user(self.frequent('seq', 8, count['users']))} AS added FROM chats
            WHERE seq >= {first} AND seq < {end} AND group_id IS NULL AND seq % 3 = 0) AS rest
            WHERE added <> user_id"""

    def texts(self, chat_of_long):
        words, chats = self.words, self.chat_end - self.first_chat
        moment = self.moment("n", self.sizes["messages"])
        columns = """INSERT INTO messages (id, chat_id, seq, user_id, group_id, prompt, reply, model, otr, state,
            prompt_tokens, completion_tokens, created_at, updated_at)"""
        text = f"'{TEXT}'".replace("pilgrims'", "pilgrims''")

        def piece(salt, least, more):
            begin, length = f"{noise('n', salt)} % 400", f"{noise('n', salt + 1)} % {more}"
            return f"substr({text}, 1 + CAST({begin} AS INTEGER), {least} + CAST({length} AS INTEGER))"

        values = f"""{piece(1, 40, 160)}, {piece(3, 150, 700)}, 'gpt-3.5-turbo',
            CASE WHEN n % 50 = 0 THEN 1 ELSE 0 END, CASE WHEN n % 100 = 1 THEN 'failed' ELSE 'done' END,
            60, 120, {moment}, {moment}"""
        for first, end in batches(self.round_robin):
            yield "messages", f"""{columns} SELECT {words.identifier('ee0', 'n', moment)}, chats.id,
                n / {chats} + 1, chats.user_id, chats.group_id, {values}
                FROM {words.numbers(first, end)}
                CROSS JOIN chats WHERE chats.seq = {self.first_chat} + n % {chats}
                {'ORDER BY n' if words.has_server else ''}"""
        for first, end in batches(self.sizes["messages"], self.round_robin):
            yield "messages", f"""{columns} SELECT {words.identifier('ee0', 'n', moment)}, '{chat_of_long}',
                n - {self.round_robin} + 1, {self.quoted('writer')}, NULL, {values}
                FROM {words.numbers(first, end)}"""
        length = self.sizes["long"]
        yield "messages", f"""UPDATE chats SET last_message_seq = {length}, context_version = {length}
            WHERE id = '{chat_of_long}'"""

    def records(self):
        words, count = self.words, self.sizes["events"]
        moment = self.moment("n", count)
        kind = "CASE WHEN n % 4 = 0 THEN 'forward' WHEN n % 10 = 1 THEN 'reply' ELSE 'request' END"
        is_call = "(n % 4 = 0 OR n % 10 = 1)"
        path = """CASE WHEN n % 4 = 0 THEN '/v1/chat/completions' WHEN n % 10 IN (1, 2, 3) THEN '/chat/prompt'
            WHEN n % 10 IN (5, 6) THEN '/chat/read' ELSE '/chat/index' END"""
        for first, end in batches(count):
            yield "events", f"""INSERT INTO events (id, timestamp, type, request_id, client_ip, method, path, status,
                duration_us, user_id, model, prompt_tokens, completion_tokens, upstream_status, upstream_us,
                bytes_in, bytes_out, "end", process)
                SELECT {words.identifier('ff0', 'n', moment)}, {moment}, {kind}, {words.random_hexadecimal()},
                '192.0.2.' || n % 250, 'POST', {path}, CASE WHEN n % 97 = 0 THEN 404 ELSE 200 END,
                1000 + {noise('n', 9)}, {self.user(self.frequent('n', 10, self.sizes['users']))},
                CASE WHEN {is_call} THEN 'gpt-3.5-turbo' END, CASE WHEN {is_call} THEN 60 END,
                CASE WHEN {is_call} THEN 120 END, CASE WHEN {is_call} THEN 200 END,
                CASE WHEN {is_call} THEN 900000 END, 300, 900, 'done', '01234567-89ab-7cde-8f01-23456789abcd'
                FROM {words.numbers(first, end)}"""
        # As many days as bodies are kept.
        start = count * 360 // 390
        begin = identifier("000", 0, self.begin + start * (SPAN // count))
        text = f"'{TEXT}'".replace("pilgrims'", "pilgrims''")
        yield "bodies", f"""INSERT INTO event_bodies (id, request, response)
            SELECT id, {words.blob(f'substr({text}, 1, 600)')}, {words.blob(f'substr({text}, 1, 900)')} FROM events
            WHERE id >= '{begin}' AND type = 'forward'"""


def batches(end, first=0):
    for start in range(first, end, BATCH):
        yield start, min(end, start + BATCH)


def fill(world, stack, chat_of_long):
    """Fills the database of a stack that has been stopped; seconds by what was filled."""
    run = on_server if stack.server else in_file
    took = {}
    with run(stack) as execute:
        for label, statement in world.statements(chat_of_long):
            if shutil.disk_usage(stack.state_directory).free < 2 << 30:
                raise SystemExit("less than 2 GB of the disk are left")
            began = time.monotonic()
            execute(statement)
            took[label] = took.get(label, 0) + time.monotonic() - began
    if not stack.server:
        # Or the first checkpoint would wait for gigabytes.
        subprocess.run(["sync", stack.database], check=True)
    return took


@contextlib.contextmanager
def in_file(stack):
    with contextlib.closing(sqlite3.connect(stack.database, isolation_level=None)) as connection:
        for pragma in ("journal_mode = DELETE", "journal_mode = OFF", "synchronous = OFF", "cache_size = -1500000"):
            connection.execute(f"PRAGMA {pragma}")
        yield connection.execute
        connection.execute("PRAGMA journal_mode = WAL")


@contextlib.contextmanager
def on_server(stack):
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", stack.server.directory, "-U", "postgres"]
    command += ["-d", stack.database_name]

    def execute(*statements):
        options = [option for one in statements for option in ("-c", one)]
        subprocess.run([*command, *options], check=True, env={**os.environ, "PGOPTIONS": ""})

    # References need no look: the rows are right.
    yield lambda statement: execute("SET session_replication_role = replica", statement)
    execute("VACUUM (FREEZE, ANALYZE)", "CHECKPOINT")
