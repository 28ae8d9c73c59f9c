"""The process that renders: one, replaced when it dies, never left behind; and who may wait for it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import REGISTRY

from service.errors import Overloaded, TooManyRequests, Unavailable
from service.invoices.pdf import render
from service.invoices.queue import InvoiceQueue, RenderingFailed
from service.invoices.renderer import NICENESS
from service.invoices.renderer_process import INHERITED, RendererProcess
from tests.helpers.waiting import eventually, wait_until
from tests.invoices.examples import hundred_lines, invoice
from tests.invoices.stand_in import DIE, FAIL, HANG, TELL
from tests.server.process import alive

#: Another caller each time.
any_caller = map("user:{}".format, count()).__next__
STAND_IN = "tests.invoices.stand_in"
Open = Callable[..., InvoiceQueue]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes queues, which are closed in the end. Options of the process are those that it has fields for."""
    made: list[InvoiceQueue] = []

    def make(process: RendererProcess | None = None, **options: Any) -> InvoiceQueue:
        of_the_process = {name: options.pop(name) for name in ("lifetime", "idle_seconds") if name in options}
        # On a busy machine what is niced takes its time; nothing here is about how much.
        limit = options.pop("limit", 60.0)
        process = process or RendererProcess(STAND_IN, seconds=limit, **of_the_process)
        made.append(InvoiceQueue(process, **{"seconds": 60.0, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()
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


async def told(queue: InvoiceQueue) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await queue.render(invoice(buyer=TELL), any_caller()))
    return answer


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("invoices_total", {"outcome": outcome}) or 0


def under_way() -> tuple[float | None, ...]:
    """Invoices that wait, and that are rendered."""
    states = ("waiting", "rendering")
    return tuple(REGISTRY.get_sample_value("invoices_under_way", {"state": state}) for state in states)


@asynccontextmanager
async def held_up(queue: InvoiceQueue) -> AsyncIterator[None]:
    """While the renderer stands still."""
    pid = (await told(queue))["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class TestRendering:
    async def test_the_file_is_what_the_document_gives(self, opened: Open) -> None:
        queue = opened()
        for document in (invoice(), hundred_lines()):
            before = counted("rendered")
            assert await queue.render(document, any_caller()) == render(document)
            assert counted("rendered") == before + 1

    async def test_it_starts_with_the_first_invoice_and_is_used_again(self, opened: Open) -> None:
        queue = opened()
        assert children() == set()
        first = await told(queue)
        assert children() == {first["pid"]}
        assert (await told(queue))["pid"] == first["pid"]

    async def test_there_is_one_however_many_ask(self, opened: Open) -> None:
        queue = opened(waiting=10)
        others = [opened(queue.process, waiting=10) for _ in range(2)]
        each = [told(one) for one in (queue, *others) for _ in range(8)]
        pids = {answer["pid"] for answer in await asyncio.gather(*each)}
        assert children() == pids
        assert len(pids) == 1

    async def test_a_process_gives_way_and_holds_no_secrets(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_KEY", "x" * 40)
        monkeypatch.setenv("DATABASE_URL", "postgresql://shop:secret@db/shop")
        mine = await told(opened())
        # That is the maximum, and the process that runs the tests may be niced itself.
        assert mine["nice"] == min(os.nice(0) + NICENESS, 19)
        ours = {*INHERITED, "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUTF8", "LC_CTYPE"}
        assert set(mine["environment"]) <= ours

    async def test_after_its_lifetime_a_process_is_replaced(self, opened: Open) -> None:
        queue = opened(lifetime=2)
        first, second, third = [(await told(queue))["pid"] for _ in range(3)]
        assert first == second != third
        await eventually(lambda: children() == {third})

    async def test_with_nothing_to_do_a_process_ends(self, opened: Open) -> None:
        queue = opened(idle_seconds=0.0)
        await told(queue)
        await eventually(lambda: children() == set())
        assert (await queue.render(invoice(), any_caller())).startswith(b"%PDF")


class TestFaults:
    async def test_a_process_that_dies_costs_one_invoice(self, opened: Open) -> None:
        queue = opened()
        first, before = (await told(queue))["pid"], counted("died")
        with pytest.raises(Unavailable) as refusal:
            await queue.render(invoice(buyer=DIE), any_caller())
        assert (refusal.value.code, refusal.value.headers) == ("unavailable", {"Retry-After": "1"})
        assert counted("died") == before + 1
        assert (await told(queue))["pid"] != first

    async def test_one_that_died_while_idle_costs_none(self, opened: Open) -> None:
        queue = opened()
        first = (await told(queue))["pid"]
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: queue.process.pid is None)
        assert (await told(queue))["pid"] != first

    async def test_one_that_died_while_others_wait_costs_these_none(self, opened: Open) -> None:
        queue = opened()
        async with held_up(queue):
            waiting = [asyncio.create_task(told(queue)) for _ in range(3)]
            await eventually(lambda: under_way()[0] == 3)
            first = queue.process.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            pids = {(await task)["pid"] for task in waiting}
        assert len(pids) == 1
        assert pids != {first}

    async def test_what_takes_too_long_is_given_up_and_its_process_ends(self, opened: Open) -> None:
        queue = opened(limit=2.0)
        first, before = (await told(queue))["pid"], counted("timed_out")
        queue.seconds = 0.5
        with pytest.raises(Unavailable):
            await queue.render(invoice(buyer=HANG), any_caller())
        queue.seconds = 60.0
        assert counted("timed_out") == before + 1
        # What has waited meanwhile is rendered by the next one.
        assert (await told(queue))["pid"] != first
        assert not alive(first)

    async def test_a_rendering_error_is_raised_as_it_was(self, opened: Open) -> None:
        queue, before = opened(), counted("failed")
        with pytest.raises(RenderingFailed, match="ZeroDivisionError: no such page"):
            await queue.render(invoice(buyer=FAIL), any_caller())
        assert counted("failed") == before + 1
        assert (await queue.render(invoice(), any_caller())).startswith(b"%PDF")

    async def test_what_is_given_up_does_not_come_back_as_another_invoice(self, opened: Open) -> None:
        queue = opened(limit=2.0)
        first = (await told(queue))["pid"]
        task = asyncio.create_task(queue.render(invoice(buyer=HANG), any_caller()))
        await eventually(lambda: under_way() == (0, 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await told(queue))["pid"] != first
        assert not alive(first)

    async def test_what_is_given_up_before_its_turn_is_not_rendered(self, opened: Open) -> None:
        """It would kill the process: HANG."""
        queue = opened(limit=2.0)
        async with held_up(queue):
            first = queue.process.pid
            task = asyncio.create_task(queue.render(invoice(buyer=HANG), any_caller()))
            await eventually(lambda: under_way() == (1, 0))
            task.cancel()
            await asyncio.wait([task])
        assert (await told(queue))["pid"] == first

    async def test_one_that_cannot_start_is_an_answer_in_time(self, opened: Open) -> None:
        queue, before = opened(RendererProcess("tests.invoices.missing"), seconds=0.5), counted("waited")
        with pytest.raises(Overloaded):
            await queue.render(invoice(), any_caller())
        assert counted("waited") == before + 1


class TestQueue:
    async def test_what_does_not_fit_is_refused_at_once(self, opened: Open) -> None:
        queue, before = opened(waiting=2), counted("refused")
        async with held_up(queue), asyncio.TaskGroup() as group:
            tasks = [group.create_task(queue.render(invoice(), any_caller())) for _ in range(3)]
            await eventually(lambda: queue._pending == 3)
            with pytest.raises(Overloaded) as refusal:
                await queue.render(invoice(), any_caller())
            assert (refusal.value.code, refusal.value.headers) == ("overloaded", {"Retry-After": "2"})
            assert counted("refused") == before + 1
            assert len(children()) == 1
            for task in tasks:
                task.cancel()
        assert (await queue.render(invoice(), any_caller())).startswith(b"%PDF")

    async def test_where_the_kernel_has_no_room_it_is_refused(self, opened: Open) -> None:
        """As when a thousand wait, of all processes."""
        queue, before = opened(), counted("refused")
        async with held_up(queue):
            many: list[socket.socket] = []
            with suppress(BlockingIOError):
                while len(many) < 10_000:
                    many.append(queue.process.submit())
            with pytest.raises(Overloaded):
                await queue.render(invoice(), any_caller())
            for each in many:
                each.close()
        assert 100 < len(many) < 10_000
        assert counted("refused") == before + 1
        # Those who asked have left, which it has to see first.
        await eventually(lambda: not queue.process._is_asked())
        assert (await queue.render(invoice(), any_caller())).startswith(b"%PDF")

    async def test_one_caller_has_a_share_and_others_find_room_beside_it(self, opened: Open) -> None:
        queue, before = opened(waiting=8), counted("refused")
        async with asyncio.TaskGroup() as group:
            async with held_up(queue):
                flood = [group.create_task(queue.render(invoice(), "user:flood")) for _ in range(queue.share)]
                await eventually(lambda: queue._pending == queue.share)
                with pytest.raises(TooManyRequests) as refusal:
                    await queue.render(invoice(), "user:flood")
                assert refusal.value.headers == {"Retry-After": "2"}
                assert counted("refused") == before + 1
            assert (await queue.render(invoice(), any_caller())).startswith(b"%PDF")
        assert all(task.result().startswith(b"%PDF") for task in flood)
        assert (await queue.render(invoice(), "user:flood")).startswith(b"%PDF")
        assert (queue._pending, queue._pending_of) == (0, {})

    async def test_no_request_waits_longer_than_an_invoice_may_take(self, opened: Open) -> None:
        queue, before = opened(), counted("waited")
        async with held_up(queue):
            queue.seconds = 0.05
            with pytest.raises(Overloaded) as refusal:
                await queue.render(invoice(), any_caller())
        assert refusal.value.headers == {"Retry-After": "5"}
        assert counted("waited") == before + 1

    async def test_what_waits_and_what_is_rendered_is_shown(self, opened: Open) -> None:
        queue = opened(limit=2.0)
        await queue.render(invoice(), any_caller())
        assert under_way() == (0, 0)
        tasks = [asyncio.create_task(queue.render(invoice(buyer=HANG), any_caller())) for _ in range(3)]
        await eventually(lambda: under_way() == (2, 1))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert under_way() == (0, 0)


class TestTheEnd:
    async def test_closing_ends_the_process_also_at_work(self, opened: Open) -> None:
        queue = opened()
        await told(queue)
        task = asyncio.create_task(queue.render(invoice(buyer=HANG), any_caller()))
        await eventually(lambda: under_way() == (0, 1))
        queue.close()
        assert children() == set()
        with pytest.raises(Unavailable):
            await task
        with pytest.raises(Overloaded):
            await queue.render(invoice(), any_caller())
        assert children() == set()

    async def test_signals_for_the_whole_group_are_the_services_to_answer(self, opened: Open) -> None:
        queue = opened()
        first = (await told(queue))["pid"]
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(first, number)
        assert (await told(queue))["pid"] == first

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
        command = [sys.executable, "-m", "service.invoices.renderer", "1", "1", "1", "1"]
        ended = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout) == (0, b"")
