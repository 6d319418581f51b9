"""A clock of a stack's own, which a test may set; the machine's is left alone."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "Systemd" / "clock.c"


class FalseClock:
    """`settings` are for those that shall go by it. Begins right."""

    def __init__(self):
        compiler = shutil.which("clang") or shutil.which("cc")
        if not compiler:
            pytest.skip("there is no compiler of C")
        self._directory = tempfile.mkdtemp(prefix="clock-", dir="/tmp")
        library = os.path.join(self._directory, "clock.so")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
        path = os.path.join(self._directory, "step")
        self._step = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        self.settings = {"LD_PRELOAD": library, "CLOCK_STEP": path}
        self.set(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._step)
        shutil.rmtree(self._directory, ignore_errors=True)

    def set(self, seconds):
        """So far ahead of the machine's, from now on."""
        os.pwrite(self._step, seconds.to_bytes(8, "little", signed=True), 0)
