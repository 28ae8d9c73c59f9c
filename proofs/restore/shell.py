"""Runs blocks of commands as an operator does: with a shell, and variables for what is one's own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from service.dev import embedded
from tests.server.process import environment


async def run(commands: str, folder: Path, *, as_server: bool = False, **variables: str) -> str:
    """What they print. `as_server`: as the user that PostgreSQL runs under, where this is root.

    Raises RuntimeError where one of them fails.
    """
    path = [str(embedded._binaries()), str(Path(sys.executable).parent), os.environ["PATH"]]
    env = environment(folder, **variables) | {"PATH": os.pathsep.join(path)}
    launcher = embedded._launcher() if as_server else []
    command = [*launcher, "bash", "-euo", "pipefail", "-c", commands]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{commands}: status {done.returncode}: {done.stderr[-1_000:]}")
    return done.stdout
