"""The Swift client: it is built, and its tests pass. They have a server of their own that cuts and is silent.

A first build takes minutes, since it compiles async-http-client and NIO.
"""

import pathlib
import re
import shutil
import subprocess

import pytest

CLIENT = pathlib.Path(__file__).resolve().parents[3] / "clients/swift"
SWIFT = shutil.which("swift")

pytestmark = [
    pytest.mark.skipif(not SWIFT, reason="the Swift toolchain is not installed"),
    # Compiling takes both cores.
    pytest.mark.alone,
]

CAP = 1800


def swift(*arguments):
    done = subprocess.run([SWIFT, *arguments], cwd=CLIENT, capture_output=True, text=True, timeout=CAP)
    told = done.stdout + done.stderr
    assert done.returncode == 0, f"swift {' '.join(arguments)}:\n{told}"
    return told


def test_the_code_is_formatted():
    swift("format", "lint", "--strict", "--parallel", "--recursive", "Sources", "Tests", "Package.swift")


def test_the_tests_of_the_client_pass():
    told = swift("test")
    assert re.search(r"Test run with [1-9]\d* tests? .*passed", told), told


def test_the_scenario_is_built_without_a_warning_of_ours():
    told = swift("build", "--product", "scenario")
    assert "clients/swift/Sources" not in told, told
