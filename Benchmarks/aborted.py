"""What fdatasync(2) says while ext4 is aborted, without any database: as root, on a loop device.

Appends pages to a file, each synced before the next, until `mount -o remount,abort` ends it, repairs
the file system as fsck does at boot, and counts the runs in which a page is gone whose fdatasync had
succeeded.
"""

import os
import random
import subprocess
import sys
import tempfile
import threading
import time

PAGE = 4096


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True)


def page(number):
    return number.to_bytes(8, "little") * (PAGE // 8)


class Appender(threading.Thread):
    """Appends until an error; `synced` is the number of pages that are said to be on the disk."""

    def __init__(self, path):
        super().__init__()
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.synced = 0

    def run(self):
        try:
            while self.synced < 8000:
                os.pwrite(self.file, page(self.synced + 1), self.synced * PAGE)
                os.fdatasync(self.file)
                self.synced += 1
        except OSError:
            pass
        finally:
            os.close(self.file)


def found(path):
    count = 0
    with open(path, "rb") as file:
        while file.read(PAGE) == page(count + 1):
            count += 1
    return count


def once(directory):
    """Whether a synced page was lost."""
    disk, place = f"{directory}/disk", f"{directory}/place"
    os.makedirs(place, exist_ok=True)
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-m", "0", "-F", disk)
    run("mount", "-o", "loop", disk, place)
    try:
        appender = Appender(f"{place}/log")
        appender.start()
        time.sleep(random.uniform(0.3, 0.6))
        run("mount", "-o", "remount,abort", place)
        appender.join()
    finally:
        run("umount", place)
    # 1: errors were corrected.
    if subprocess.run(["e2fsck", "-fp", disk], capture_output=True).returncode not in (0, 1):
        sys.exit("the file system could not be repaired")
    run("mount", "-o", "loop", disk, place)
    try:
        return found(f"{place}/log") < appender.synced
    finally:
        run("umount", place)


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as directory:
        lost = sum(once(directory) for _ in range(runs))
    print(f"{lost} of {runs} runs lost a page that fdatasync had confirmed (Linux {os.uname().release})")


if __name__ == "__main__":
    main()
