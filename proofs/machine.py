"""What a run was made on: figures of two machines are not to be compared."""

import os
import platform
import subprocess
from datetime import UTC, datetime

import psutil

from proofs.page import ROOT, Document


def described() -> Document:
    """The commit, the day and the machine, as they are before a run loads it."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "commit": _commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} processors, {memory:.0f} GiB, Linux {platform.release()},"
        f" Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
    }


def _commit() -> str:
    """With a plus where files differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()
