"""What a worker does all the time goes on through an outage, and does not fill the log with it."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from service.errors import Unavailable
from service.platform.jobs import background
from service.platform.telemetry import repeats
from tests.helpers.waiting import eventually


class Act:
    """Fails as long as there is an outage; counts how often it was tried."""

    def __init__(self) -> None:
        self.outage, self.tried = True, 0

    async def measure(self) -> None:
        self.tried += 1
        if self.outage:
            raise Unavailable("The database does not answer.")

    async def tries(self, more: int) -> None:
        until = self.tried + more
        await eventually(lambda: self.tried >= until)


async def test_an_outage_is_one_line_and_the_next_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.001)
    act = Act()
    with capture_logs() as lines:
        running = asyncio.create_task(background.repeat(act.measure, 0.001))
        await act.tries(5)
        assert [(line["event"], line["act"]) for line in lines] == [("worker.helper_failed", "measure")]
        act.outage = False
        await act.tries(3)
        act.outage = True
        await act.tries(5)
        assert len(lines) == 2
        monkeypatch.setattr(repeats, "REPEAT_SECONDS", 0.0)
        await act.tries(3)
        assert len(lines) > 2
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
