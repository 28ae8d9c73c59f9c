"""A process that ends with its parent, and one that gives memory back."""

import os
import signal
import subprocess
import sys

import pytest

from service.platform.process import is_orphan
from tests.helpers.waiting import wait_until
from tests.server.process import alive

CHILD = """
import os, signal, sys
from service.platform.process import end_with
end_with(int(sys.argv[1]), signal.Signals(int(sys.argv[2])))
print("watching", flush=True)
signal.pause()
"""
PARENT = """
import os, subprocess, sys
command = [sys.executable, "-c", sys.argv[1], str(os.getpid()), sys.argv[2]]
child = subprocess.Popen(command, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_ends_with_a_parent_that_is_killed(ending: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, CHILD, str(int(ending))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        wait_until(lambda: not alive(child))


def test_ends_at_once_where_the_parent_has_ended_before() -> None:
    """Its parent is another by then: here it has always been."""
    command = [sys.executable, "-c", CHILD, str(2**22 + 1), str(int(signal.SIGTERM))]
    child = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (child.returncode, child.stdout) == (0, b"")


def test_who_is_an_orphan() -> None:
    assert not is_orphan(os.getppid())
    assert is_orphan(os.getpid())


HASHING = """
import asyncio
from pathlib import Path
from service.identity import Passwords
from service.platform.process import use_one_heap

def used():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS"))

async def main():
    passwords = Passwords()
    passwords.IDLE_SECONDS = 0.3
    for _ in range(3):
        await passwords.hash("correct-horse-1")
    print(used(), flush=True)
    await asyncio.sleep(0.6)
    print(used(), flush=True)

use_one_heap()
asyncio.run(main())
"""


def test_memory_of_hashed_passwords_goes_back_to_the_kernel() -> None:
    """A hash takes 19 MiB."""
    command = [sys.executable, "-c", HASHING]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, text=True)
    while_hashing, after = map(int, done.stdout.split())
    assert while_hashing - after > 18 * 1024
