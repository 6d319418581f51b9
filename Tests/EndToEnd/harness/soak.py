"""Faults in random order under running replies, and subscribers who must not notice.

`python3 Tests/EndToEnd/harness/soak.py` runs long (SEED, FAULTS, DATABASE, as `make soak` has it);
test_soak.py runs a few of them. The seed decides which faults come in which order; their moments go by what arrives.
"""

import contextlib
import dataclasses
import os
import random
import signal
import statistics
import sys
import threading
import time

import paths  # noqa: F401  the folders beside this file

from client import call
from sse import Stream
from stack import Stack, wait_for
from surroundings import surrounded
from views import Subscriber, View, Wrong

PIECES, DELAY_MS = 30, 80
MODEL = f"mock?chunks={PIECES}&chunk-delay-ms={DELAY_MS}"
FILLER = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit")

CHATS, REPLIES_PER_CHAT = 4, 2
TRANSPORTS = ("sse", "websocket", "sse", "websocket")

# How often each comes, relative to the others.
FAULTS = {
    "kill the streamer": 4,
    "stop the streamer": 3,
    "kill a worker": 2,
    "stop a worker": 3,
    "reload nginx": 2,
    "cut clients": 6,
}

# From the death of a worker to the last frame of its replies.
FAILED_WITHIN = 20
# What takes longer than this hangs.
PATIENCE = 30
SETTINGS = {"MAX_REPLIES_PER_USER": 1000, "MAX_STREAMS_PER_USER": 1000}


@dataclasses.dataclass
class Sent:
    """A prompt, and what is known of it."""

    chat: str
    whole: str
    at: float


def whole_reply(prompt):
    """What the mock says to a prompt, in full."""
    own = f"echo: {prompt}".split(" ")
    return " ".join(own + [FILLER[index % 8] for index in range(len(own), PIECES)])


class Soak:
    """One run; `run` returns its report, or raises with what was wrong."""

    def __init__(self, seed, faults, progress=lambda text: None, make_stack=Stack):
        self.seed, self.faults = seed, faults
        self._make_stack = make_stack
        self.random = random.Random(seed)
        self.counts = dict.fromkeys(FAULTS, 0)
        self.sent, self.subscribers = {}, []
        self.deaths, self.streamer_deaths = [], []
        self._progress = progress
        self._changed = threading.Condition()
        self._problem, self._is_over = None, False
        self._drains = []
        self.retries = 0

    def run(self):
        begun = time.monotonic()
        with self._make_stack(workers=2, settings=SETTINGS) as self.stack:
            self.token, _ = self.stack.signup()
            chats = [self._chat() for _ in range(CHATS)]
            prompters = [
                threading.Thread(target=self._guarded, args=(self._prompt, chat, slot), daemon=True)
                for chat in chats
                for slot in range(REPLIES_PER_CHAT)
            ]
            for thread in self.subscribers + prompters:
                thread.start()
            try:
                for number in range(self.faults):
                    self._fault(number)
                self._is_over = True
                for thread in prompters:
                    thread.join(PATIENCE)
                    self._check(not thread.is_alive(), "a prompt hangs")
                for thread in self._drains:
                    thread.join(PATIENCE)
                    self._check(not thread.is_alive(), "a worker does not end")
                self._await(self._all_have_ended, "the ends of all messages")
                report = self._compare(chats)
            except BaseException:
                self._show()
                raise
            finally:
                self._is_over = True
                for subscriber in self.subscribers:
                    subscriber.stop()
        report["seconds"] = round(time.monotonic() - begun)
        return report

    # What goes on

    def _chat(self):
        form = {"model": MODEL}
        answer = call(self.stack.url, "POST", "/chat/create", token=self.token, form=form)
        chat = answer.json["id"]
        # Where a subscriber of the empty chat begins, which a WebSocket is not told.
        with Stream(self.stack.url, chat, self.token).begin() as stream:
            beginning = stream.last_id
        for number, over in enumerate(TRANSPORTS):
            view = View(f"{over} {number} of {chat}", beginning, self._whole)
            self.subscribers.append(
                Subscriber(self.stack.url, chat, self.token, view, over, self._tell)
            )
        return chat

    def _views(self, chat):
        return [each.view for each in self.subscribers if chat in each.view.name]

    def _whole(self, key):
        sent = self.sent.get(key)
        return sent.whole if sent else None

    def _prompt(self, chat, slot):
        """One prompt after the other; one whose words stop coming is left to its end."""
        number = 0
        while not self._is_over:
            number += 1
            text = f"{slot} {number} " + " ".join("w" * (number % 7 + 1) for _ in range(number % 5))
            if number % 9 == 0:
                # Longer prompts stand in the first frame and in the last alone.
                text += " " + "x" * 1500
            # Off the record nothing is said: a message that is its last frame alone.
            key = self._post(chat, text, f"{chat}-{slot}-{number}", is_silent=number % 5 == 4)
            views = self._views(chat)
            while not self._is_over:
                with self._changed:
                    self._changed.wait(0.5)
                heard = max([self.sent[key].at] + [view.last_words.get(key, 0) for view in views])
                if any(key in view.ends for view in views) or time.monotonic() - heard > 3:
                    break

    def _post(self, chat, text, name, is_silent):
        """Sends a prompt until it is taken: its key makes one message of all attempts."""
        form = {"id": chat, "prompt": text, "otr" if is_silent else "stream": "true"}
        headers = {"Idempotency-Key": name}
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                answer = call(
                    self.stack.url, "POST", "/chat/prompt", token=self.token, form=form,
                    headers=headers,
                )
                if answer.status == 200:
                    key = answer.json["message"]["id"]
                    whole = "" if is_silent else whole_reply(text)
                    self.sent[key] = Sent(chat, whole, time.monotonic())
                    return key
                if answer.status not in (502, 503):
                    raise Wrong(f"a prompt was answered with {answer}")
            self.retries += 1
            with self._changed:
                self._changed.wait(0.2)
        raise Wrong(f"no worker took a prompt in {PATIENCE} s")

    def _tell(self):
        with self._changed:
            self._changed.notify_all()

    def _guarded(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as problem:
            self._problem = self._problem or problem
            self._tell()

    # Faults

    def _fault(self, number):
        """Waits until some frames have come since the last fault, then makes the next."""
        # Now and then at once, so that one fault meets those that come back after another.
        pause = 0 if self.random.random() < 0.2 else self.random.randint(5, 300)
        wanted = self._frames() + pause
        self._await(lambda: self._frames() >= wanted, "frames to go on")
        kind = self.random.choices(list(FAULTS), FAULTS.values())[0]
        index = self.random.randrange(2)
        victims = self.random.sample(self.subscribers, self.random.randint(1, 6))
        begun = time.monotonic()
        match kind:
            case "kill the streamer":
                self.streamer_deaths.append(begun)
                self.stack.kill_streamer()
                self.stack.start_streamer()
            case "stop the streamer":
                self.streamer_deaths.append(begun)
                self._check(self.stack.stop_streamer() == 0, "the streamer did not end well")
                self.stack.start_streamer()
            case "kill a worker":
                self.deaths.append(begun)
                self.stack.kill_worker(self.stack.workers[index])
                self.stack.start_worker()
            case "stop a worker":
                # As in a rolling restart: it goes on with its replies while others come.
                thread = threading.Thread(
                    target=self._guarded, args=(self._drain, self.stack.workers[index]), daemon=True
                )
                self.stack.start_worker()
                self.stack.workers.pop(index)
                self._drains.append(thread)
                thread.start()
            case "reload nginx":
                self.stack.nginx.send_signal(signal.SIGHUP)
            case "cut clients":
                for victim in victims:
                    victim.cut()
        self.counts[kind] += 1
        seen = f"{self._frames():8} frames, {len(self.sent)} messages"
        self._progress(f"{number + 1:4} {kind:18} {seen}")

    def _drain(self, process):
        self._check(self.stack.stop_worker(process, 60) == 0, f"{process.name} did not end well")

    def _frames(self):
        return sum(subscriber.view.frames for subscriber in self.subscribers)

    def _await(self, predicate, what, cap=PATIENCE):
        end = time.monotonic() + cap
        while not predicate():
            self._look()
            self._check(time.monotonic() < end, f"waited {cap} s in vain for {what}")
            with self._changed:
                self._changed.wait(0.1)
        self._look()

    def _look(self):
        """Raises what a thread has met."""
        for subscriber in self.subscribers:
            if subscriber.problem:
                raise Wrong(f"{subscriber.view.name}: {subscriber.problem!r}")
            for moment, text in subscriber.refusals:
                # Asked again once, a request fails when two streamers in a row die over it.
                near = [death for death in self.streamer_deaths if abs(death - moment) < 5]
                self._check(len(near) >= 2, f"{subscriber.view.name} was refused: {text}")
        if self._problem:
            raise self._problem

    @staticmethod
    def _check(holds, what):
        if not holds:
            raise Wrong(what)

    # The end

    def _all_have_ended(self):
        return all(
            key in view.ends
            for key, sent in self.sent.items()
            for view in self._views(sent.chat)
        )

    def _stored(self, chat):
        messages, before = [], None
        while True:
            form = {"id": chat, "limit": 1000, **({"before": before} if before else {})}
            page = call(self.stack.url, "POST", "/chat/read", token=self.token, form=form).json
            messages = page["messages"] + messages
            if not page["has_more"]:
                return messages
            before = page["messages"][0]["id"]

    def _compare(self, chats):
        states, exact, shown, delays = {}, 0, 0, []
        for chat in chats:
            stored = self._stored(chat)
            known = {key for key, sent in self.sent.items() if sent.chat == chat}
            self._check({message["id"] for message in stored} == known, "messages nobody sent")
            for view in self._views(chat):
                self._check(not set(view.ends) - known, "ends of messages nobody sent")
            for message in stored:
                state = message["state"]
                states[state] = states.get(state, 0) + 1
                matches = [view.check(message) for view in self._views(chat)]
                if state == "done":
                    shown += len(matches)
                    exact += sum(matches)
                    self._check(
                        message["reply"] == self._whole(message["id"]), f"{message} is not whole"
                    )
                elif state == "failed":
                    delays += self._delays(message["id"], chat)
                else:
                    raise Wrong(f"{message} has not ended, or was stopped")
        longest = max(delays, default=0)
        self._check(longest <= FAILED_WITHIN, f"the end of a dead reply came after {longest} s")
        self._check(states.get("done"), "no reply was whole")
        return {
            "seed": self.seed,
            "faults": sum(self.counts.values()),
            **self.counts,
            "messages": sum(states.values()),
            **states,
            "frames": self._frames(),
            "connections": sum(each.connections for each in self.subscribers),
            "resets": sum(each.view.resets for each in self.subscribers),
            "refused": sum(len(each.refusals) for each in self.subscribers),
            "prompts asked again": self.retries,
            "whole replies seen word by word": f"{exact} of {shown}",
            "end of a dead worker's reply, median and most": (
                f"{statistics.median(delays):.1f} s, {max(delays):.1f} s" if delays else "none"
            ),
        }

    def _delays(self, key, chat):
        """From the death that ended a reply, the first one after its last words, to its end."""
        views = self._views(chat)
        spoken = [view.last_words[key] for view in views if key in view.last_words]
        heard = max(self.sent[key].at, min(spoken, default=0))
        after = [death for death in self.deaths if death > heard - 0.3]
        death = min(after, default=heard)
        return [view.times[key] - death for view in views]

    def _show(self):
        """What a failure leaves for its search."""
        print(f"seed {self.seed}, faults so far: {self.counts}", file=sys.stderr)
        for subscriber in self.subscribers:
            missing = [
                key
                for key, sent in self.sent.items()
                if sent.chat in subscriber.view.name and key not in subscriber.view.ends
            ]
            if subscriber.problem or len(missing) and len(missing) < 10:
                what = f"{subscriber.problem!r}, open: {missing}"
                print(f"{subscriber.view.name}: {what}", file=sys.stderr)
                for line in subscriber.view.trace:
                    if subscriber.problem or line[2][0] in {key[-12:] for key in missing}:
                        print("   ", *line, file=sys.stderr)
        self.stack._print_logs()


def main():
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    faults = int(os.environ.get("FAULTS") or 1000)
    database = os.environ.get("DATABASE") or "sqlite"
    print(f"SEED={seed} FAULTS={faults} DATABASE={database}", flush=True)
    with surrounded(database) as make_stack:
        report = Soak(seed, faults, lambda text: print(text, flush=True), make_stack).run()
    for name, value in report.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
