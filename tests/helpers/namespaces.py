"""Modules that are run in a network and a mount namespace of their own."""

import json
import os
import subprocess
import sys
from typing import Any

from tests.helpers.waiting import PATIENCE_SECONDS
from tests.server.process import REPOSITORY

#: Root of the machine may make namespaces; any other user becomes root of their own first.
UNSHARE = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def report_of(module: str, *arguments: str) -> Any:
    """What `python -m MODULE ARGUMENTS` prints there, as JSON."""
    ran = subprocess.run(
        [*UNSHARE, sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
