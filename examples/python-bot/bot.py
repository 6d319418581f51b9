"""A chat with the model in a terminal: replies are shown word by word, and Ctrl-C stops one.

    pip install ./clients/python
    PROXY_GPT_URL=http://localhost:8080 python3 examples/python-bot/bot.py

With PROXY_GPT_TOKEN it acts as the user of that token; without, it asks for a name and a password, and makes the user
where there is none. Ctrl-D ends it.
"""

from __future__ import annotations

import getpass
import os
import sys
from typing import Callable

from proxy_gpt import Chat, Client, ProxyGPTError

HELP = """\
/new [NAME]     begins another chat
/chats          lists the newest chats
/history        shows this chat
/note TEXT      keeps a text in the chat that the model is not told
/help           shows this
Anything else is a prompt. Ctrl-C stops a reply, Ctrl-D ends the program."""


class Bot:
    """The chat that is open, and what can be done with it."""

    def __init__(self, gpt: Client) -> None:
        self.gpt = gpt
        self.chat: Chat = gpt.chats.create(name="Terminal")
        self.commands: dict[str, Callable[[str], None]] = {
            "/new": self.begin,
            "/chats": self.show_chats,
            "/history": self.show_history,
            "/note": self.note,
            "/help": lambda _: print(HELP),
        }

    def run(self) -> None:
        print(f"{self.gpt.users.session().user.username} in a new chat with {self.chat.model}. /help says more.")
        while True:
            try:
                line = input("> ").strip()
            except KeyboardInterrupt:
                print()
                continue
            except EOFError:
                print()
                return
            if line:
                self.obey(line)

    def obey(self, line: str) -> None:
        """Does what a line says. A refusal of the server ends nothing."""
        word, _, rest = line.partition(" ")
        try:
            if word in self.commands:
                self.commands[word](rest.strip())
            elif word.startswith("/"):
                print(f"There is no command {word}. /help names them all.")
            else:
                self.prompt(line)
        except ProxyGPTError as error:
            print(f"[{error.code}] {error.upstream_message or error.message}")
            if error.status == 401:
                sys.exit(1)

    def prompt(self, text: str) -> None:
        """Streams a reply. When Ctrl-C ends the loop, the client has it stopped at the model."""
        deltas = self.gpt.chats.stream(self.chat.id, text)
        try:
            for delta in deltas:
                print(delta.text, end="", flush=True)
            print()
        except KeyboardInterrupt:
            deltas.close()
            print(" (stopped)")

    def note(self, text: str) -> None:
        self.gpt.chats.prompt(self.chat.id, text, otr=True)
        print("(off the record)")

    def begin(self, name: str) -> None:
        self.chat = self.gpt.chats.create(name=name or None)
        print(f"The chat {self.chat.name} has begun.")

    def show_chats(self, _: str) -> None:
        for chat in self.gpt.chats.list(limit=10).chats:
            print(f"{chat.created_at}  {chat.name}")

    def show_history(self, _: str) -> None:
        for message in reversed(list(self.gpt.chats.messages_all(self.chat.id))):
            print(f"> {message.prompt}\n{message.reply}" + ("" if message.state == "done" else f" ({message.state})"))


def log_in(gpt: Client) -> None:
    """Logs in, and signs up where the name is free."""
    name, password = input("Name: "), getpass.getpass("Password: ")
    try:
        gpt.users.log_in(name, password)
    except ProxyGPTError as error:
        if error.status != 401:
            raise
        gpt.users.sign_up(name, password)


def main() -> int:
    url = os.environ.get("PROXY_GPT_URL", "http://localhost:8080")
    with Client(url, token=os.environ.get("PROXY_GPT_TOKEN")) as gpt:
        try:
            if gpt.token is None:
                log_in(gpt)
            Bot(gpt).run()
        except ProxyGPTError as error:
            print(f"[{error.code}] {error.message}", file=sys.stderr)
            return 1
        except (KeyboardInterrupt, EOFError):
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
