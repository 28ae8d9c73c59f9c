"""A service that is killed as soon as it has started what runs beside it, whose id it leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

LEFT = "left-behind"
BESIDE = {
    "metrics": "service.platform.server.metrics_exporter",
    "worker": "service.dev.worker_supervisor",
}


class Popen(subprocess.Popen[bytes]):
    def __init__(self, command: list[str], **options: Any) -> None:
        super().__init__(command, **options)
        if os.environ["ABANDONED"] in command:
            Path(LEFT).write_text(str(self.pid))
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from service.__main__ import main

    vars(subprocess).update(Popen=Popen)
    sys.exit(main(["serve"]))
