"""A process whose wall clock is stepped, and whose other clocks are not."""

import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

from proofs.faults.clock import HOUR, Clock

SHOWN = """
import sys, time, datetime
for _ in sys.stdin:
    began = time.monotonic()
    time.sleep(0.01)
    assert time.monotonic() - began >= 0.01
    now = datetime.datetime.now(datetime.UTC).timestamp()
    print(time.time(), now, time.time_ns() / 1e9, time.monotonic(), flush=True)
"""


def test_a_clock_is_stepped_while_its_process_runs(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    given = {name: str(value) for name, value in clock.settings.items()}
    with subprocess.Popen(
        [sys.executable, "-c", SHOWN], stdin=PIPE, stdout=PIPE, text=True, env=given
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for step in (0, HOUR, -HOUR, 0):
            clock.step(step)
            process.stdin.write("\n")
            process.stdin.flush()
            *walls, monotonic = map(float, process.stdout.readline().split())
            assert [round((wall - time.time() - step) / 60) for wall in walls] == [0, 0, 0]
            assert abs(monotonic - time.monotonic()) < 60
        process.stdin.close()
        assert process.wait(60) == 0
