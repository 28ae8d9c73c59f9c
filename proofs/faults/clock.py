"""A clock that is stepped by an hour, for the processes of the service alone, and never the machine's.

The monotonic clock is left alone, and so is the database's.
"""

import asyncio
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from proofs.cases import Context, Result
from proofs.faults.load import Disturbance, under_load
from tests.server.process import Service, started

HOUR: Final = 3600
SECONDS: Final = 8.0
SHORT_SECONDS: Final = 2.0
#: Orders are cancelled that are not paid within this time: a clock that is an hour ahead would cancel all.
PAYMENT_WINDOW: Final = "30m"
NEEDS: Final = ("gcc",)
SOURCE: Final = Path(__file__).with_name("clock.c")
#: Kinds of clients whose session is not ended.
SIGNED_IN: Final = frozenset({"shopper", "profile", "administrator"})
_EXPIRED: Final = "SELECT count(*) FROM orders WHERE cancel_reason = 'It was not paid in time.'"
_EVERYTHING_IS_DUE: Final = "UPDATE pgqueuer_schedules SET next_run = now()"


class Clock:
    """What the clock of a process says, as a difference to the machine's."""

    def __init__(self, folder: Path, name: str = "clock") -> None:
        self._library, self._file = folder / "clock.so", folder / name
        if not self._library.exists():
            command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(self._library)]
            subprocess.run([*command, str(SOURCE), "-ldl"], check=True)
        self.step(0)

    @property
    def settings(self) -> dict[str, Any]:
        """For the environment of a process."""
        return {"LD_PRELOAD": self._library, "STEPPED_CLOCK": self._file}

    def step(self, seconds: int) -> None:
        # The same file: processes have it in their memory.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


async def stepped(context: Context) -> Result:
    """An hour forwards and back, and an hour backwards and back; then one pod of two is an hour ahead."""
    time, found = Clock(context.folder), list[str]()

    async def harm(it: Disturbance) -> None:
        seconds = SHORT_SECONDS if context.short else SECONDS
        for step in (HOUR, -HOUR):
            async with it.outage(f"the clock is stepped by {step:+d} s, and back after {seconds:g} s"):
                time.step(step)
                await it.shop.postgresql.execute(_EVERYTHING_IS_DUE)
                found.extend(await _unseen(it.shop.api, step))
                await asyncio.sleep(seconds)
                time.step(0)
        async with it.outage("another process, which is an hour ahead, takes the same tokens"):
            found.extend(await _apart(it))
        found.extend(await _expired(it))
        refused = sum(call.status == 401 and call.kind in SIGNED_IN for call in it.load.history.calls)
        if refused:
            found.append(f"{refused} calls of clients who were signed in were answered 401")
        if unsigned := sum(not each.signed for each in it.load.receiver.deliveries):
            found.append(f"{unsigned} webhooks had a signature that a receiver refuses")

    result = await under_load(context, harm, PAYMENT_WINDOW=PAYMENT_WINDOW, **time.settings)
    result.faults.extend(found)
    return result


async def _unseen(api: Service, step: int) -> list[str]:
    """A case whose clock was not stepped shows nothing. The log has the process's time."""
    seen = len(api.lines())
    for _ in range(200):
        await asyncio.sleep(0.05)
        for line in api.lines()[seen:]:
            logged = datetime.fromisoformat(line["ts"])
            if abs((logged - datetime.now(UTC)).total_seconds() - step) < HOUR / 2:
                return []
    return [f"no line was logged at a time stepped by {step:+d} s: the case shows nothing"]


async def _apart(it: Disturbance) -> list[str]:
    """Tokens of either are good at the other."""
    apart = Clock(it.context.folder, "apart")
    apart.step(HOUR)
    settings = {**it.shop.settings, **apart.settings, "WEB_CONCURRENCY": "1"}
    faults = []
    with started(it.context.folder / "other", **settings) as other:
        await asyncio.to_thread(other.wait_until_up)
        email = "apart@shop.example"
        token = await asyncio.to_thread(it.shop.api.register, email)
        theirs = (await asyncio.to_thread(other.sign_in, email)).json()["access_token"]
        for service, kind, given in ((other, "right", token), (it.shop.api, "early", theirs)):
            with service.client(given) as client:
                answer = await asyncio.to_thread(client.get, "/users/profile")
            if answer.status_code != 200:
                faults.append(f"a token of the {kind} process got {answer.status_code} from the other")
    return faults


async def _expired(it: Disturbance) -> list[str]:
    connection = await asyncpg.connect(it.shop.postgresql.url)
    try:
        count = await connection.fetchval(_EXPIRED)
    finally:
        await connection.close()
    return [f"{count} orders were cancelled half an hour early"] if count else []
