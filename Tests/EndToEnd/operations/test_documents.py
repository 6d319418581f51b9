"""The documents: their commands and programs run, their output is the real one, and their links lead somewhere."""

import re
import subprocess

import documents
import pytest
from stack import CHECKOUT, binary

ALL = documents.documents()
WITH_COMMANDS = [
    name
    for name in ALL
    if any(block.language == documents.SHELL and block.is_run for block in documents.blocks(documents.read(name)))
]
PROGRAMS = [
    # Compiling takes both cores.
    pytest.param(
        name, block.first + 1, block, id=f"{name}:{block.first + 1}",
        marks=pytest.mark.alone if block.language == "swift" else ())  # fmt: skip
    for name in ALL
    for block in documents.blocks(documents.read(name))
    if block.language in documents.PROGRAMS and block.is_run
]
STACK = documents.STACK


@pytest.mark.parametrize("document", WITH_COMMANDS)
def test_the_commands_of_a_document_succeed_with_the_output_shown(document):
    for block, output in documents.run_commands(document):
        if "/chat/stream" in block.text:
            assert '"partial":false' in output, f"{document}:{block.first + 1}: the reply does not end\n{output}"
        if block.shown:
            assert documents.stable(output) == documents.stable(block.shown.text), (
                f"{document}:{block.first + 1} has another output: run `make docs`"
            )


@pytest.fixture(scope="module")
def here(stack, tmp_path_factory):
    return documents.Place(stack, tmp_path_factory.mktemp("programs"))


@pytest.mark.parametrize("name, line, block", PROGRAMS)
def test_the_programs_of_a_document_run_as_they_stand(here, name, line, block):
    reason = documents.why_not(block.language)
    if reason:
        pytest.skip(reason)
    output = documents.run_program(here, block)
    # Each of them shows a reply of the mock, which repeats the prompt.
    assert "echo:" in output, f"{name}:{line}: {output}"


def test_every_command_block_runs_or_says_why_not(capsys):
    run, marked = documents.counts()
    with capsys.disabled():
        print(f"\ncommand blocks of the documents: {run} run, {marked} marked as not run")
    assert run >= 45 and marked <= run / 3
    for name in ALL:
        for block in documents.blocks(documents.read(name)):
            known = block.is_command or block.language in ("text", "json", "nginx", "sql", "html")
            assert known, f"{name}:{block.first}: a block of the language {block.language!r}"


@pytest.mark.parametrize("document", ALL)
def test_links_between_documents_lead_somewhere(document):
    assert not documents.broken_links(document)


def test_a_link_that_leads_nowhere_is_noticed():
    text = "See [a](docs/absent.md), [b](#absent), [c](https://example.org/) and\n```sh\n[d](e)\n```\n"
    assert documents.links(text) == ["docs/absent.md", "#absent"]
    assert documents.headings("# What `it` does: all\n```\n# none\n```\n") == {"what-it-does-all"}


def test_the_readme_is_short_and_leads_to_every_document():
    text = documents.read("README.md")
    assert text.count("\n") <= 120
    assert set(ALL) - {"README.md"} <= set(documents.links(text))


def test_every_command_of_the_operator_has_its_section():
    told = subprocess.run([binary("proxy-gpt-admin"), "--help"], capture_output=True, text=True).stdout
    commands = set(re.findall(r"^  ([a-z]+) {2,}\S", told, re.MULTILINE)) - {"sessions"}
    assert {"list", "doctor"} <= commands
    headings = documents.headings(documents.read("docs/admin.md"))
    assert commands | {"sessions-list", "sessions-revoke"} <= headings


def sayings():
    """All that the programs and nginx can say, in one text."""
    folders = (("Sources", "*.swift"), ("nginx", "*.conf"), ("Tests/EndToEnd/harness", "foreground.py"))
    files = [path for folder, kind in folders for path in (CHECKOUT / folder).rglob(kind)]
    text = " ".join(path.read_text() for path in sorted(files))
    # A text over several lines is one, and a value in it may be anything.
    text = re.sub(r'"\s*\n\s*\+ "', "", text).replace("\\'", "'")
    return re.sub(r"\\\([^()]*(\([^()]*\)[^()]*)*\)", "…", text)


def test_the_words_of_errors_are_those_that_the_programs_say():
    text, found = sayings(), 0
    for row in re.findall(r"^\| (`.+?) \|", documents.read("docs/troubleshooting.md"), re.MULTILINE):
        for words in re.findall(r"`([^`]+ [^`]+)`", row):
            # Said by browsers.
            if words.startswith("blocked by"):
                continue
            found += 1
            for part in words.split("…"):
                assert part.strip() in text, f"docs/troubleshooting.md: nothing says `{words}`"
    assert found > 50


def test_figures_of_measurements_stand_in_one_document():
    for name in ALL:
        if name != "docs/benchmarks.md":
            assert not re.search(r"\bp9\d\b|\d/s\b", documents.read(name)), name


def test_every_alert_and_every_column_of_an_event_is_explained():
    text = documents.read("docs/observe.md")
    alerts = re.findall(r"- alert: (\w+)", documents.read("docs/prometheus-rules.yml"))
    source = documents.read("Sources/ProxyGPT/Domain/EventColumn.swift")
    columns = re.findall(r'EventColumn\(\s*"(\w+)"', source)
    assert len(alerts) > 5 and len(columns) > 15
    assert [name for name in alerts + columns if f"`{name}`" not in text] == []


def test_every_program_has_a_manual_page():
    pages = {path.name for path in (CHECKOUT / "docs/man").iterdir()}
    assert {
        "proxy-gpt.7", "proxy-gpt.5", "proxy-gpt-admin.1", "proxy-gpt-restart.8", "proxy-gpt-worker.8",
        "proxy-gpt-streamer.8",
    } <= pages  # fmt: skip
    for page in pages:
        text = (CHECKOUT / "docs/man" / page).read_text()
        name, section = page.rsplit(".", 1)
        assert re.search(rf"^\.TH {name.upper()} {section} ", text, re.MULTILINE), page
        for each, number in re.findall(r"^\.BR (proxy-gpt\S*) \((\d)\)", text, re.MULTILINE):
            assert f"{each}.{number}" in pages, f"{page}: {each}({number})"
