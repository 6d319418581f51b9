"""Fuzzes every parser of bytes from outside, and measures what single inputs cost.

    fuzz.py SECONDS [--only json,mask] [--minimize]

All fuzzers together run so long (libFuzzer, address sanitizer). What they find they keep in
.build-fuzz/corpus for the next time; --minimize puts the least of it that reaches as much into
Tests/Fuzz/corpus.

Ends with 1 when an input traps, breaks a promise, takes over ten seconds under the sanitizers, or
takes over 5 ms of CPU time without them. A crashing input stays in .build-fuzz/findings.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
STATE = CHECKOUT / ".build-fuzz"
KEPT = CHECKOUT / "Tests/Fuzz/corpus"
FOUND = STATE / "corpus"
FINDINGS = STATE / "findings"

# Swift's own crash reports would look for symbols for minutes.
ENVIRONMENT = {**os.environ, "SWIFT_BACKTRACE": "enable=no", "PROXY_GPT_FUZZ": "1"}
# A reader may be asked for half a gigabyte by a length: that is refused, and no error of ours.
ENVIRONMENT["ASAN_OPTIONS"] = "allocator_may_return_null=1:detect_leaks=0"

# Inputs of up to so many bytes, mostly: what is longer than the entry's seeds seldom finds more, and
# long ones are what `FuzzReplay time` makes.
SHORT = 4096
LONG = 1 << 20

# The calls of a parser that took longest, in seconds.
SLOW_UNIT = 10


def build(product, *options):
    folder = STATE / ("sanitized" if options else "plain")
    command = [
        "swift", "build", "-c", "release", "--scratch-path", str(folder), "--product", product,
        "-Xswiftc", "-enable-testing", *options,
    ]  # fmt: skip
    subprocess.run(command, cwd=CHECKOUT, env=ENVIRONMENT, check=True)
    return folder / "release" / product


def fuzz(runner, entry, limit, seconds):
    """Runs one fuzzer; returns its name, its cases, and what it found."""
    found, kept = FOUND / entry, KEPT / entry
    log = STATE / f"{entry}.log"
    cases = 0
    # Short inputs for the most part of the time, then long ones.
    for length, share in ((min(SHORT, limit), 0.85), (min(LONG, limit), 0.15)):
        command = [
            str(runner), f"--entry={entry}", f"-max_total_time={max(1, round(seconds * share))}",
            f"-max_len={length}", f"-timeout={SLOW_UNIT}", "-rss_limit_mb=4096", "-print_final_stats=1",
            f"-artifact_prefix={FINDINGS}/{entry}-", str(found), *([str(kept)] if kept.is_dir() else []),
        ]  # fmt: skip
        with log.open("wb") as output:
            code = subprocess.run(
                command, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT
            ).returncode
        text = log.read_text(errors="replace")
        counted = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
        cases += int(counted[1]) if counted else 0
        if code:
            lines = [line for line in text.splitlines() if "ERROR" in line or "failed" in line]
            return entry, cases, (lines or ["ended"])[0] + f" (exit {code}, see {log})"
    return entry, cases, None


def minimize(runner, entry):
    """Keeps the fewest inputs that reach all that is reached, the long ones aside."""
    smallest = STATE / "minimized" / entry
    shutil.rmtree(smallest, ignore_errors=True)
    smallest.mkdir(parents=True)
    folders = [str(folder) for folder in (KEPT / entry, FOUND / entry) if folder.is_dir()]
    subprocess.run(
        [str(runner), f"--entry={entry}", "-merge=1", f"-max_len={SHORT // 4}", str(smallest), *folders],
        env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    shutil.rmtree(KEPT / entry, ignore_errors=True)
    shutil.copytree(smallest, KEPT / entry)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("--only", default="")
    parser.add_argument("--minimize", action="store_true")
    options = parser.parse_args()
    replay = build("FuzzReplay")
    runner = build(
        "FuzzRunner", "--sanitize=fuzzer", "--sanitize=address",
        "-Xswiftc", "-sanitize-coverage=edge,trace-cmp,inline-8bit-counters,pc-table",
    )  # fmt: skip
    listed = subprocess.run([replay, "list"], capture_output=True, text=True, check=True).stdout
    limits = {name: int(limit) for name, limit in map(str.split, listed.splitlines())}
    wanted = [name for name in options.only.split(",") if name] or list(limits)
    for folder in (FINDINGS, *(FOUND / name for name in limits)):
        folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([replay, "seeds", FOUND], check=True)

    processors = len(os.sched_getaffinity(0))
    share = options.seconds * processors / len(wanted)
    began = time.monotonic()
    with ThreadPoolExecutor(processors) as pool:
        results = list(pool.map(lambda name: fuzz(runner, name, limits[name], share), wanted))
    took = time.monotonic() - began
    for name, cases, problem in results:
        print(f"{name:18} {cases:>10,} cases  {problem or 'no trap'}")
    total = sum(cases for _, cases, _ in results)
    print(f"{'all':18} {total:>10,} cases in {took:.0f} s, {total / took:,.0f} a second")
    failed = [name for name, _, problem in results if problem]

    if options.minimize:
        for name in wanted:
            minimize(runner, name)

    print("\nCPU time of single inputs without sanitizers:", flush=True)
    for name in wanted:
        timed = subprocess.run([replay, "time", name, FOUND / name, KEPT / name], env=ENVIRONMENT)
        failed += [f"{name} (time)"] if timed.returncode else []
    if failed:
        sys.exit("failed: " + ", ".join(failed))


main()
