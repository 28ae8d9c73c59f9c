"""The processes that render: bounded, replaced when they die, and never left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import REGISTRY

from service.errors import Overloaded, TooManyRequests, Unavailable
from service.invoices import pool as pools
from service.invoices.pdf import render
from service.invoices.pool import RendererPool, RenderingFailed
from service.invoices.renderer import NICENESS
from tests.helpers.waiting import eventually, wait_until
from tests.invoices.examples import hundred_lines, invoice
from tests.invoices.stand_in import DIE, FAIL, HANG, TELL
from tests.server.process import alive

#: Another caller each time.
any_caller = map("user:{}".format, count()).__next__
STAND_IN = "tests.invoices.stand_in"
Open = Callable[..., RendererPool]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Makes pools, which are closed in the end."""
    made: list[RendererPool] = []

    def make(**options: Any) -> RendererPool:
        # On a busy machine what is niced takes its time; nothing here is about how much.
        made.append(RendererPool(module=STAND_IN, **{"seconds": 60.0, **options}))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()
    assert children() == set()


def children() -> set[int]:
    """The processes that render for this one."""
    found = set()
    for child in psutil.Process().children():
        try:
            if STAND_IN in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


async def told(pool: RendererPool) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await pool.render(invoice(buyer=TELL), any_caller()))
    return answer


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("invoices_total", {"outcome": outcome}) or 0


class TestRendering:
    async def test_the_file_is_what_the_document_gives(self, opened: Open) -> None:
        pool = opened()
        for document in (invoice(), hundred_lines()):
            before = counted("rendered")
            assert await pool.render(document, any_caller()) == render(document)
            assert counted("rendered") == before + 1

    async def test_processes_start_with_the_first_invoice_and_are_used_again(self, opened: Open) -> None:
        pool = opened()
        assert children() == set()
        first = await told(pool)
        assert children() == {first["pid"]}
        assert (await told(pool))["pid"] == first["pid"]

    async def test_no_more_processes_than_there_may_be(self, opened: Open) -> None:
        pool = opened(processes=2, waiting=10)
        pids = {each["pid"] for each in await asyncio.gather(*(told(pool) for _ in range(8)))}
        assert children() == pids
        assert len(pids) == 2

    async def test_a_process_gives_way_and_holds_no_secrets(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_KEY", "x" * 40)
        monkeypatch.setenv("DATABASE_URL", "postgresql://shop:secret@db/shop")
        mine = await told(opened())
        # That is the maximum, and the process that runs the tests may be niced itself.
        assert mine["nice"] == min(os.nice(0) + NICENESS, 19)
        ours = {*pools.INHERITED, "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUTF8", "LC_CTYPE"}
        assert set(mine["environment"]) <= ours

    async def test_after_its_lifetime_a_process_is_replaced(self, opened: Open) -> None:
        pool = opened(lifetime=2)
        first, second, third = [(await told(pool))["pid"] for _ in range(3)]
        assert first == second != third
        await eventually(lambda: children() == {third})

    async def test_with_nothing_to_do_a_process_ends(self, opened: Open) -> None:
        pool = opened(idle_seconds=0.0)
        await told(pool)
        await eventually(lambda: children() == set())
        assert (await pool.render(invoice(), any_caller())).startswith(b"%PDF")


class TestFaults:
    async def test_a_process_that_dies_costs_one_invoice(self, opened: Open) -> None:
        pool = opened()
        first, before = (await told(pool))["pid"], counted("died")
        with pytest.raises(Unavailable) as refusal:
            await pool.render(invoice(buyer=DIE), any_caller())
        assert (refusal.value.code, refusal.value.headers) == ("unavailable", {"Retry-After": "1"})
        assert counted("died") == before + 1
        assert (await told(pool))["pid"] != first

    async def test_one_that_died_while_idle_costs_none(self, opened: Open) -> None:
        pool = opened()
        first = (await told(pool))["pid"]
        os.kill(first, signal.SIGKILL)
        (renderer,) = pool._living
        await eventually(lambda: not renderer.is_alive)
        assert (await told(pool))["pid"] != first

    async def test_one_that_takes_too_long_is_killed(self, opened: Open) -> None:
        pool = opened()
        first, before = (await told(pool))["pid"], counted("timed_out")
        pool.seconds = 0.5
        with pytest.raises(Unavailable):
            await pool.render(invoice(buyer=HANG), any_caller())
        pool.seconds = 60.0
        assert counted("timed_out") == before + 1
        await eventually(lambda: not alive(first))
        assert (await pool.render(invoice(), any_caller())).startswith(b"%PDF")

    async def test_a_rendering_error_is_raised_as_it_was(self, opened: Open) -> None:
        pool, before = opened(), counted("failed")
        with pytest.raises(RenderingFailed, match="ZeroDivisionError: no such page"):
            await pool.render(invoice(buyer=FAIL), any_caller())
        assert counted("failed") == before + 1
        assert (await pool.render(invoice(), any_caller())).startswith(b"%PDF")

    async def test_what_is_given_up_does_not_come_back_as_another_invoice(self, opened: Open) -> None:
        pool = opened()
        first = (await told(pool))["pid"]
        task = asyncio.create_task(pool.render(invoice(buyer=HANG), any_caller()))
        await eventually(lambda: not pool._idle)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await told(pool))["pid"] != first
        await eventually(lambda: not alive(first))


class TestQueue:
    async def test_what_does_not_fit_is_refused_at_once(self, opened: Open) -> None:
        pool, before = opened(processes=1, waiting=2), counted("refused")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(pool.render(invoice(buyer=HANG), any_caller())) for _ in range(3)]
            await eventually(lambda: len(children()) == 1 and pool._pending == 3)
            with pytest.raises(Overloaded) as refusal:
                await pool.render(invoice(), any_caller())
            assert (refusal.value.code, refusal.value.headers) == ("overloaded", {"Retry-After": "2"})
            assert counted("refused") == before + 1
            assert len(children()) == 1
            for task in tasks:
                task.cancel()
        assert (await pool.render(invoice(), any_caller())).startswith(b"%PDF")

    async def test_one_caller_has_a_share_and_others_find_room_beside_it(self, opened: Open) -> None:
        pool, before = opened(processes=1, waiting=8), counted("refused")
        async with asyncio.TaskGroup() as group:
            flood = [group.create_task(pool.render(invoice(), "user:flood")) for _ in range(pool.share)]
            await eventually(lambda: pool._pending == pool.share)
            with pytest.raises(TooManyRequests) as refusal:
                await pool.render(invoice(), "user:flood")
            assert refusal.value.headers == {"Retry-After": "2"}
            assert counted("refused") == before + 1
            assert (await pool.render(invoice(), any_caller())).startswith(b"%PDF")
        assert all(task.result().startswith(b"%PDF") for task in flood)
        assert (await pool.render(invoice(), "user:flood")).startswith(b"%PDF")
        assert (pool._pending, pool._pending_of) == (0, {})

    async def test_no_request_waits_longer_than_an_invoice_may_take(self, opened: Open) -> None:
        pool, before = opened(seconds=0.05), counted("waited")
        async with pool._free:
            with pytest.raises(Overloaded) as refusal:
                await pool.render(invoice(), any_caller())
        assert refusal.value.headers == {"Retry-After": "5"}
        assert (counted("waited"), children()) == (before + 1, set())

    async def test_what_waits_and_what_is_rendered_is_shown(self, opened: Open) -> None:
        pool = opened()

        def under_way() -> tuple[float | None, ...]:
            return tuple(
                REGISTRY.get_sample_value("invoices_under_way", {"state": state})
                for state in ("waiting", "rendering")
            )

        await pool.render(invoice(), any_caller())
        assert under_way() == (0, 0)
        tasks = [asyncio.create_task(pool.render(invoice(buyer=HANG), any_caller())) for _ in range(3)]
        await eventually(lambda: under_way() == (2, 1))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert under_way() == (0, 0)


class TestTheEnd:
    async def test_closing_ends_every_process_also_one_at_work(self, opened: Open) -> None:
        pool = opened(processes=2)
        await asyncio.gather(told(pool), told(pool))
        task = asyncio.create_task(pool.render(invoice(buyer=HANG), any_caller()))
        await eventually(lambda: len(pool._idle) == 1)
        await pool.aclose()
        assert children() == set()
        with pytest.raises(Unavailable):
            await task
        with pytest.raises(Overloaded):
            await pool.render(invoice(), any_caller())
        assert children() == set()

    async def test_signals_for_the_whole_group_are_the_services_to_answer(self, opened: Open) -> None:
        pool = opened()
        first = (await told(pool))["pid"]
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(first, number)
        assert (await told(pool))["pid"] == first

    @pytest.mark.parametrize("buyer", ["", HANG], ids=["idle", "rendering"])
    def test_a_parent_that_is_killed_leaves_no_orphan(self, buyer: str) -> None:
        command, root = (
            [sys.executable, "-m", "tests.invoices.parent", buyer],
            Path(__file__).parents[3],
        )
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=root) as parent:
            assert parent.stdout is not None
            assert parent.stderr is not None
            pid = int(parent.stdout.readline())
            assert parent.stderr.readline() == "This is no answer.\n"
            if buyer:
                assert parent.stderr.readline() == "It hangs.\n"
            assert alive(pid)
            parent.kill()
            parent.wait()
        try:
            wait_until(lambda: not alive(pid))
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def test_one_that_begins_without_its_parent_ends(self) -> None:
        """As when the parent dies before the kernel has been told to watch."""
        command = [sys.executable, "-m", "service.invoices.renderer", "1"]
        ended = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout) == (0, b"")
