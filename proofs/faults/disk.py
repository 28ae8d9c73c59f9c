"""A disk that is full: PostgreSQL's data on a small one of its own, in memory, which the case fills."""

import asyncio
import errno
from pathlib import Path
from typing import Final

from proofs.cases import Context, Result
from proofs.faults.inside import tool
from proofs.faults.load import Disturbance, under_load
from proofs.shop.postgresql import PostgreSQL

SIZE: Final = "400m"
FULL_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.1
_CHUNK: Final = bytes(64 * 1024)


async def full(context: Context) -> Result:
    """Nothing can be written for a while, neither rows nor the log of transactions. Where PostgreSQL has
    ended because of it, it is started again when there is room, as an orchestrator does.
    """
    disk = context.folder / "postgresql"
    disk.mkdir()
    tool("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "tmpfs", str(disk))
    database = await PostgreSQL.create(disk)

    async def harm(it: Disturbance) -> None:
        async with it.outage(f"PostgreSQL's disk is full for {FULL_SECONDS:g} s"):
            ballast = disk / "ballast"
            for _ in range(round(FULL_SECONDS / _PAUSE_SECONDS)):
                await asyncio.to_thread(fill, ballast)
                await asyncio.sleep(_PAUSE_SECONDS)
            context.say(f"PostgreSQL {'goes on' if await database.answers() else 'has ended'}")
            ballast.unlink()
            if not database.running:
                await database.start()

    return await under_load(context, harm, postgresql=database)


def fill(ballast: Path) -> None:
    """What is left of this disk, which must be one of its own."""
    assert ballast.parent.is_mount()
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(_CHUNK)
        except OSError as fault:
            if fault.errno != errno.ENOSPC:
                raise
