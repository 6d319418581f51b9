"""Runs JavaScript with the client in Node.js; what the tests of the client and of its examples share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest
from stack import CHECKOUT

CLIENT = CHECKOUT / "clients" / "js"
NODE = os.environ.get("NODE") or shutil.which("node") or shutil.which("nodejs")

SKIP = pytest.mark.skipif(not NODE, reason="Node.js is not installed: the JavaScript client is not tested")

PRELUDE = """
import { inspect } from "node:util";
import { ProxyGPT, ProxyGPTError } from "CLIENT/proxy-gpt.js";
const url = process.env.URL;
const gpt = new ProxyGPT(url, { token: "pgpt_secret" });
const print = (value) => console.log(JSON.stringify(value));
const collect = async (items) => { const all = []; for await (const item of items) all.push(item); return all; };
const errorOf = async (call) => {
  try { await call; } catch (error) {
    if (!(error instanceof ProxyGPTError)) throw error;
    return { ...error, message: error.message };
  }
  throw new Error("a call succeeded that should have failed");
};
"""


def run(url: str, code: str, **environment: str) -> list[Any]:
    """Runs a module and returns what it has printed, JSON by JSON; an error when it fails or hangs."""
    # Deno takes a module from a file alone, and Node.js 18 reads its standard input as well.
    command = [NODE, "run", "-A", "-"] if "deno" in str(NODE) else [NODE, "--input-type=module", "-"]
    done = subprocess.run(
        command,
        input=PRELUDE.replace("CLIENT", CLIENT.as_uri()) + code,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
