"""Boots a Debian with a real systemd, installs our package there and runs inside.py in it.

    python3 Tests/Systemd/boot.py PACKAGE... [--whole] [WORD...]

The root is an empty Debian of its own, made by debootstrap once and kept in .build; each run has an
overlay on it. Needs root, and packages systemd-container and debootstrap; where the machine allows
no containers, it says so in one line and is content.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
BASE = CHECKOUT / ".build" / "debian"
MIRROR = "http://deb.debian.org/debian"
# What the package needs, so that it can be installed where there is no network; and for the tests.
INCLUDED = (
    "systemd,systemd-sysv,dbus,nginx-light,curl,ca-certificates,python3,procps,libcurl4,"
    "libfcgi0ldbl,libhiredis0.14,libpq5,libsqlite3-0,libssl3,libstdc++6"
)

# Reports on the console, then ends the machine.
UNIT = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -u /checkout/Tests/Systemd/inside.py {arguments}
ExecStopPost=/bin/systemctl --no-block exit
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
Environment=PYTHONPATH={harness}:{harness}/clients:{harness}/servers
Environment=PYTHONDONTWRITEBYTECODE=1 BIN_DIRECTORY={bin}
"""


def skip(why):
    print(f"skipped: the tests under systemd, since {why}")
    sys.exit(0)


def make_base():
    if (BASE / "made").exists():
        return
    shutil.rmtree(BASE, ignore_errors=True)
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", "bookworm", BASE / "root", MIRROR],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if made.returncode != 0:
        skip("debootstrap fails: " + made.stdout.strip().splitlines()[-1])
    (BASE / "made").touch()


def boot(packages, arguments):
    with tempfile.TemporaryDirectory(prefix="proxy-gpt-systemd-") as directory:
        root = pathlib.Path(directory)
        for name in ("upper", "work", "root"):
            (root / name).mkdir()
        # A disk of its own beneath the overlay: one on top of another is not possible.
        options = f"lowerdir={BASE}/root,upperdir={root}/upper,workdir={root}/work"
        etc = root / "upper/etc/systemd/system/multi-user.target.wants"
        etc.mkdir(parents=True)
        unit = UNIT.format(
            arguments=" ".join(arguments),
            harness="/checkout/Tests/EndToEnd/harness",
            bin="/checkout/.build/release",
        )
        (etc.parent / "inside.service").write_text(unit)
        (etc / "inside.service").symlink_to("../inside.service")
        # A login on the console would hang up on its writers.
        (etc.parent / "console-getty.service").symlink_to("/dev/null")
        (root / "upper/etc/machine-id").touch()
        (root / "upper/packages").mkdir()
        for package in packages:
            shutil.copy(package, root / "upper/packages")
        script = f"mount -t overlay overlay -o {options} {root}/root && exec systemd-nspawn " + " ".join(
            [
                f"--directory={root}/root", "--boot", "--register=no", "--keep-unit", "--quiet",
                "--console=read-only", "--private-network", f"--bind-ro={CHECKOUT}:/checkout",
                "--machine=proxy-gpt", "--kill-signal=SIGRTMIN+4",
                "systemd.show_status=no",
            ]
        )  # fmt: skip
        command = ["unshare", "--mount", "sh", "-c", script]
        text = []
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        ) as machine:  # fmt: skip
            for line in machine.stdout:
                text.append(line.replace("\r", ""))
                print(text[-1], end="", flush=True)
        if not any(line.startswith(("passed ", "FAILED ", "inside:")) for line in text):
            skip("systemd does not come up in a container: " + "".join(text[-1:]).strip())
        if not any(line.startswith("inside: all passed") for line in text):
            sys.exit("the tests under systemd failed")


def main():
    packages = [name for name in sys.argv[1:] if name.endswith(".deb")]
    arguments = [name for name in sys.argv[1:] if not name.endswith(".deb")]
    if os.geteuid() != 0:
        skip("they need root")
    if not shutil.which("systemd-nspawn") or not shutil.which("debootstrap"):
        skip("systemd-nspawn or debootstrap is not installed")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        skip("this machine allows no namespaces")
    make_base()
    boot(packages, arguments)


main()
