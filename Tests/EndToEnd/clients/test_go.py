"""The Go client: what Go's own tools say of it. Its tests have a server of their own that cuts, repeats and is silent."""

import os
import pathlib
import shutil
import subprocess

import pytest

CLIENT = pathlib.Path(__file__).resolve().parents[3] / "clients/go"
GO = shutil.which("go")

pytestmark = pytest.mark.skipif(not GO, reason="Go is not installed (Debian's package golang-go)")

CAP = 600


def go(*arguments, **environment):
    # Nothing is fetched: the client has no dependencies, and the Go that is here has to do.
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", **environment}
    done = subprocess.run([GO, *arguments], cwd=CLIENT, env=environment, capture_output=True, text=True, timeout=CAP)
    assert done.returncode == 0, f"go {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_client_has_no_dependencies():
    assert (CLIENT / "go.mod").read_text().split("\n\n")[1:] == ["go 1.19\n"]
    assert not (CLIENT / "go.sum").exists()


def test_the_code_is_formatted():
    gofmt = shutil.which("gofmt") or str(pathlib.Path(GO).resolve().with_name("gofmt"))
    listed = subprocess.run([gofmt, "-l", "."], cwd=CLIENT, capture_output=True, text=True, timeout=CAP)
    assert (listed.returncode, listed.stdout) == (0, "")


def test_go_vet_finds_nothing():
    go("vet", "./...")


def test_the_tests_of_the_client_pass():
    told = go("test", "-count=1", "./...")
    assert "ok  \tproxy-gpt.example/proxygpt" in told, told


def test_every_exported_name_is_documented():
    told = go("run", "./internal/undocumented", ".")
    assert told == ""
