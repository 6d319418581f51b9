"""The documents: their code blocks, which run against a stack, and their links.

    python3 Tests/EndToEnd/harness/documents.py [DOCUMENT...]    writes the output of commands into the documents

A block fenced as `sh` runs in bash, all of a document one after the other in one shell. In a block
`http://localhost:8080` is the stack's address, `sudo` runs its command, `proxy-gpt-admin` works on the stack's
database, `/var/backups/proxy-gpt` is a directory of its own, and `postgresql://proxy:secret@localhost/proxy` is an
empty database. A block fenced as `text` right
after one is its output. Blocks in other languages are whole programs. `<!-- not run: reason -->` on the line
before a block keeps it from running. docs/development.md says the same to writers.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import paths  # noqa: F401  the folders beside this file

import cluster
from stack import CHECKOUT, Stack, binary

ADDRESS = "http://localhost:8080"
POSTGRES = "postgresql://proxy:secret@localhost/proxy"
BACKUPS = "/var/backups/proxy-gpt"
SHELL = "sh"
OUTPUT = "text"
PROGRAMS = ("javascript", "python", "go", "swift")
# As `make run` has it: short passwords, and words that come one by one.
SETTINGS = {"PASSWORD_MIN": 3, "PASSWORD_COST": None, "CORS_ORIGINS": "https://app.example.org"}
# Slower than `make run`, so that a subscriber comes in time on a busy machine.
STACK = {"settings": SETTINGS, "mock_args": ("--chunk-delay-ms", "100")}
SECONDS = 120
# What was compiled there is found by this path.
SWIFT_CLIENT = (CHECKOUT / "clients/swift").resolve()
# Written by itself between the outputs of two blocks.
MARK = "\x1e"

NOT_RUN = re.compile(r"<!-- not run: \S.*-->$")
FENCE = re.compile(r"( *)```(\w*)$")


@dataclasses.dataclass
class Block:
    """A fenced block: its language, its text without the indentation, and where it stands."""

    language: str
    text: str
    # Lines of the document, counted from 0: those of the text alone.
    first: int
    end: int
    indentation: str
    is_run: bool
    # The `text` block right after it, which shows its output.
    shown: "Block | None" = None

    @property
    def is_command(self):
        return self.language == SHELL or self.language in PROGRAMS


def documents():
    """The documents of the source tree, by their paths in it."""
    found = sorted(CHECKOUT.glob("*.md")) + sorted((CHECKOUT / "docs").glob("*.md"))
    return [str(path.relative_to(CHECKOUT)) for path in found]


def read(document):
    return (CHECKOUT / document).read_text()


def blocks(text):
    """All fenced blocks of a document."""
    lines, found = text.splitlines(), []
    number, previous, last = 0, None, -1
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if not fence:
            number += 1
            continue
        indentation, language = fence.groups()
        end = number + 1
        while lines[end] != indentation + "```":
            end += 1
        inner = [line.removeprefix(indentation) for line in lines[number + 1 : end]]
        before = lines[number - 1].strip() if number else ""
        block = Block(
            language, "".join(line + "\n" for line in inner), number + 1, end, indentation, not NOT_RUN.match(before)
        )
        found.append(block)
        follows = previous and not any(line.strip() for line in lines[last + 1 : number])
        if language == OUTPUT and follows and previous.language == SHELL and previous.is_run:
            previous.shown = block
        previous, last = block, end
        number = end + 1
    return found


def counts():
    """How many command blocks run, and how many are marked."""
    commands = [block for document in documents() for block in blocks(read(document)) if block.is_command]
    run = sum(block.is_run for block in commands)
    return run, len(commands) - run


# Commands


class CommandError(AssertionError):
    """A block that ended with another exit code than 0."""


class Place:
    """A stack with the directory in which the commands of one document run."""

    def __init__(self, stack, directory):
        self.stack, self.directory = stack, pathlib.Path(directory)
        self._database = None

    def replaced(self, text):
        """A block's text with the addresses of this place."""
        if POSTGRES in text:
            if not self._database:
                server = cluster.shared()
                self._database = server.address(server.database(f"{self.directory}/documents"))
            text = text.replace(POSTGRES, self._database)
        backups = self.directory / "backups"
        if BACKUPS in text:
            backups.mkdir(mode=0o700, exist_ok=True)
        return text.replace(ADDRESS, self.stack.url).replace(BACKUPS, str(backups))

    def shown(self, text):
        """Output as a reader would have it: with the addresses and paths of an installation."""
        for ours, theirs in (
            (self.stack.state_directory, "/var/lib/proxy-gpt"),
            (self.stack.url, ADDRESS),
            (self.stack.mock_url, "http://localhost:9090"),
            (self._database, POSTGRES),
            (str(self.directory / "backups"), BACKUPS),
            (str(self.directory), "."),
        ):
            if ours:
                # Columns stay below their headings.
                fill = " " * (len(ours) - len(theirs))
                text = text.replace(ours + "  ", theirs + fill + "  ").replace(ours, theirs)
        return text

    def environment(self):
        programs = self.directory / "programs"
        if not programs.exists():
            programs.mkdir()
            sudo = programs / "sudo"
            # Variables may stand before the command, as sudo has them.
            sudo.write_text('#!/bin/sh\nexec env "$@"\n')
            sudo.chmod(0o755)
            (programs / "proxy-gpt-admin").symlink_to(binary("proxy-gpt-admin"))
            # A refused call is a failure.
            (self.directory / ".curlrc").write_text("fail-with-body\n")
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "STATE_DIRECTORY": self.stack.state_directory,
            # Those of the running service, so that the commands find no difference.
            "API_URL": self.stack.mock_url,
            "API_KEY": self.stack.key,
            **{name: str(value) for name, value in SETTINGS.items() if value is not None},
            "CURL_HOME": str(self.directory),
        }

    def run(self, document, commands):
        """Runs `sh` blocks one after the other in one shell; the output of each."""
        script = ["set -euo pipefail", f"cd {self.directory}"]
        for number, block in enumerate(commands):
            file = self.directory / f"block-{number}.sh"
            file.write_text(self.replaced(block.text))
            script += [f"printf '{MARK}'", f". {file}"]
        script += [f"printf '{MARK}'"]
        done = subprocess.run(
            ["/bin/bash", "-c", "\n".join(script)],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
        )
        outputs = done.stdout.decode(errors="replace").split(MARK)[1:]
        if done.returncode != 0 or len(outputs) != len(commands) + 1:
            block = commands[len(outputs) - 1]
            raise CommandError(
                f"{document}:{block.first + 1}: exit code {done.returncode} of\n{block.text}\n{outputs[-1]}"
            )
        return [self.shown(output) for output in outputs[:-1]]


@contextlib.contextmanager
def place(**options):
    with Stack(**STACK, **options) as stack, tempfile.TemporaryDirectory(prefix="documents-") as directory:
        yield Place(stack, directory)


def run_commands(document):
    """Runs the `sh` blocks of a document against a stack of its own; each with its output."""
    commands = [block for block in blocks(read(document)) if block.language == SHELL and block.is_run]
    if not commands:
        return []
    with place() as here:
        return list(zip(commands, here.run(document, commands), strict=True))


# Programs


def why_not(language):
    """Why programs of a language cannot run here; None where they can."""
    program, client = {
        "javascript": ("node", "clients/js/proxy-gpt.js"),
        "python": ("python3", "clients/python/proxy_gpt"),
        "go": ("go", "clients/go/go.mod"),
        "swift": ("swift", "clients/swift/.build/debug/scenario"),
    }[language]
    if not (CHECKOUT / client).exists():
        return f"{client} is not there"
    if not shutil.which(program):
        return f"{program} is not installed"
    return None


def make_swift_package(directory):
    """The client's own package with one more program. What was compiled of its dependencies is used again."""
    left_out = shutil.ignore_patterns(".build")
    shutil.copytree(SWIFT_CLIENT, directory, ignore=left_out, symlinks=True, dirs_exist_ok=True)
    manifest = directory / "Package.swift"
    target = '.executableTarget(name: "quickstart", dependencies: ["ProxyGPTClient"]),'
    manifest.write_text(manifest.read_text().replace("    targets: [", f"    targets: [\n        {target}", 1))
    (directory / "Sources/quickstart").mkdir()


def run_program(here, block):
    """Runs a whole program as docs/quickstart.md says; what it prints."""
    directory = pathlib.Path(tempfile.mkdtemp(dir=here.directory))
    (directory / "clients").symlink_to(CHECKOUT / "clients")
    environment = here.environment() | {"PROXY_GPT_TOKEN": here.stack.signup()[0]}
    text = here.replaced(block.text)
    if block.language == "javascript":
        file, command = "quickstart.mjs", ["node", "quickstart.mjs"]
    elif block.language == "python":
        file, command = "quickstart.py", [sys.executable, "quickstart.py"]
        environment["PYTHONPATH"] = "clients/python"
    elif block.language == "go":
        file, command = "main.go", ["go", "run", "."]
        module = re.search(r"^module (\S+)", (CHECKOUT / "clients/go/go.mod").read_text(), re.MULTILINE).group(1)
        (directory / "go.mod").write_text(
            f"module quickstart\n\ngo 1.19\n\nrequire {module} v0.0.0\n\nreplace {module} => {CHECKOUT}/clients/go\n"
        )
        environment |= {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOCACHE": f"{here.directory}/go-cache"}
    else:
        file = "Sources/quickstart/quickstart.swift"
        command = ["swift", "run", "--quiet", "--scratch-path", f"{SWIFT_CLIENT}/.build", "quickstart"]
        make_swift_package(directory)
    (directory / file).write_text(text)
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600 if block.language == "swift" else SECONDS,
    )
    if done.returncode != 0:
        raise CommandError(f"exit code {done.returncode} of\n{block.text}\n{done.stdout}")
    return done.stdout


# Output


def stable(output):
    """Output without what differs from run to run: numbers, ids, times, and the widths of columns."""
    output = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", output)
    output = re.sub(r"(?<![0-9a-f])[0-9a-f]{12,}(?![0-9a-f])", "0", output)
    output = re.sub(r"\bpgpt_[\w-]+", "TOKEN", output)
    output = re.sub(r"\d+", "0", output)
    output = re.sub(r"0([.:T-]0)+Z?", "0", output)
    return "\n".join(" ".join(line.split()) for line in output.strip().splitlines())


def write_outputs(document):
    """Writes the output of a document's commands into it; whether that changed it."""
    text = read(document)
    if not any(block.shown for block in blocks(text)):
        return False
    lines = text.splitlines()
    # From the end, so that the numbers of lines before stay what they are.
    for block, output in reversed(run_commands(document)):
        shown = block.shown
        if shown and stable(output) != stable(shown.text):
            inner = [(shown.indentation + line).rstrip() for line in output.rstrip().splitlines()]
            lines[shown.first : shown.end] = inner
    new = "".join(line + "\n" for line in lines)
    if new != text:
        (CHECKOUT / document).write_text(new)
    return new != text


# Links


def headings(text):
    """The anchors of a document's headings, as forges make them."""
    anchors, is_code = set(), False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            is_code = not is_code
        heading = None if is_code else re.match(r"#+ (.+)", line)
        if heading:
            words = re.sub(r"[^\w\- ]", "", heading.group(1).lower())
            anchors.add(words.replace(" ", "-"))
    return anchors


def links(text):
    """The targets of all links that lead to a file or a heading."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def broken_links(document):
    """The links of a document that lead nowhere."""
    broken = []
    for target in links(read(document)):
        path, _, anchor = target.partition("#")
        file = (CHECKOUT / document).parent / path if path else CHECKOUT / document
        if not file.exists():
            broken.append(f"{document}: {target}: no such file")
        elif anchor and anchor not in headings(file.read_text()):
            broken.append(f"{document}: {target}: no such heading")
    return broken


def main(arguments):
    for document in arguments or documents():
        if write_outputs(document):
            print(f"{document} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
