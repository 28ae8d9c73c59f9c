"""A service that is killed as soon as it has started what runs beside it, whose id it leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from service.platform import process

LEFT = "left-behind"
BESIDE = {"metrics": "metrics", "worker": "service.dev.worker_supervisor"}


def abandon(pid: int) -> None:
    Path(LEFT).write_text(str(pid))
    os.kill(os.getpid(), signal.SIGKILL)


class Popen(subprocess.Popen[bytes]):
    def __init__(self, command: list[str], **options: Any) -> None:
        super().__init__(command, **options)
        if os.environ["ABANDONED"] in command:
            abandon(self.pid)


class Fork(process.Fork):
    def __init__(self, name: str, *arguments: Any) -> None:
        super().__init__(name, *arguments)
        if os.environ["ABANDONED"] == name:
            abandon(self.pid)


if __name__ == "__main__":
    vars(subprocess).update(Popen=Popen)
    vars(process).update(Fork=Fork)

    from service.__main__ import main

    sys.exit(main(["serve"]))
