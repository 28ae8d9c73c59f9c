"""What a process samples of itself, how it is asked for it, and what is drawn of it."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from service.cli import profile as command
from service.platform.server.profiling import document, endpoint, flame_graph, place
from service.platform.server.profiling.sampler import MAX_FRAMES, Sampler
from tests.helpers.waiting import eventually

PORT = 8000


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The handler of this process."""
    before = signal.getsignal(signal.SIGPROF)
    yield
    signal.signal(signal.SIGPROF, before)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of a socket may have a hundred letters, which a test's own folder would take up."""
    with tempfile.TemporaryDirectory(prefix="p-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def spin(until: Callable[[], bool]) -> None:
    """Keep the processor busy."""
    began = time.process_time()
    while not until() and time.process_time() < began + 30:
        sum(range(1000))


def hashed(sampler: Sampler) -> None:
    """In C, without the GIL."""
    while not threads_of(sampler):
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 50_000)


def threads_of(sampler: Sampler) -> set[str]:
    return {thread for thread, _ in list(sampler.spent) if thread != "MainThread"}


def names_of(codes: tuple[CodeType, ...]) -> list[str]:
    return [code.co_name for code in codes]


class TestSampler:
    def test_cpu_time_is_counted_for_the_stack_that_uses_it(self) -> None:
        sampler = Sampler()
        sampler.start()
        spin(lambda: sampler.samples >= 3)
        sampler.stop()
        mine = {tuple(names_of(codes)): spent for (_, codes), spent in sampler.spent.items()}
        assert sampler.samples >= 3
        assert sum(spent for names, spent in mine.items() if "spin" in names) > 0
        # From the outermost to the innermost.
        for names in mine:
            if "spin" in names:
                assert names.index("pytest_pyfunc_call") < names.index("spin")

    def test_other_threads_are_counted_by_their_own_clocks(self) -> None:
        sampler = Sampler()
        thread = threading.Thread(target=hashed, args=(sampler,), name="argon_0")
        sampler.start()
        thread.start()
        while thread.is_alive():
            thread.join(0.01)
        sampler.stop()
        assert threads_of(sampler) == {"argon_0"}
        stacks = document.merged([document.profile_of(sampler, 1, "api")])
        [stack] = [stack for stack in stacks if "hashed (" in stack]
        assert stack.startswith("thread argon;")

    def test_an_idle_process_is_not_sampled(self) -> None:
        sampler = Sampler()
        sampler.start()
        time.sleep(0.05)
        sampler.stop()
        assert sampler.samples <= 1

    def test_a_late_signal_is_ignored(self) -> None:
        sampler = Sampler()
        sampler.start()
        sampler.stop()
        os.kill(os.getpid(), signal.SIGPROF)
        assert sampler.samples == 0

    def test_of_a_deep_stack_the_innermost_functions_are_kept(self) -> None:
        sampler = Sampler()

        def deeper(level: int) -> None:
            if level:
                deeper(level - 1)
            else:
                spin(lambda: sampler.samples >= 3)

        sampler.start()
        deeper(MAX_FRAMES)
        sampler.stop()
        deepest = max((codes for _, codes in sampler.spent), key=len)
        assert len(deepest) == MAX_FRAMES
        assert names_of(deepest)[0] == "deeper"


class TestDocument:
    def test_stacks_begin_where_the_event_loop_runs(self) -> None:
        codes: list[CodeType] = []

        class Runner:
            def run(self) -> None:
                def handler() -> None:
                    codes.extend(
                        reversed([frame.f_code for frame, _ in traceback.walk_stack(sys._getframe())])
                    )

                handler()

        Runner().run()
        renamed = [
            code.replace(co_filename=asyncio.runners.__file__, co_qualname="Runner.run")
            if code.co_name == "run" and code.co_filename == __file__
            else code
            for code in codes
        ]
        sampler = Sampler()
        sampler.spent["MainThread", tuple(renamed)] = 5_000
        [stack] = document.merged([document.profile_of(sampler, 1, "api")])
        name = f"{type(self).__name__}.test_stacks_begin_where_the_event_loop_runs"
        inner = f"{name}.<locals>.Runner.run.<locals>.handler"
        assert stack == f"event loop;{inner} (tests/platform/server/test_profiling.py)"

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("MainThread", "event loop"),
            ("argon_1", "thread argon"),
            ("AnyIO worker thread", "thread AnyIO worker thread"),
            ("Thread-3 (_run)", "thread Thread"),
            ("7", "thread without a name"),
        ],
    )
    def test_threads_of_a_pool_are_one(self, name: str, shown: str) -> None:
        sampler = Sampler()
        sampler.spent[name, ()] = 1_000
        assert document.profile_of(sampler, 1, "api").frames == [shown]

    def test_processes_are_added_up(self) -> None:
        first = document.Profile(
            pid=1, process="api", samples=2, frames=["a", "b"], stacks=[([0, 1], 5), ([0], 0)]
        )
        second = document.Profile(pid=2, process="api", samples=1, frames=["b", "a"], stacks=[([1, 0], 7)])
        assert document.merged([first, second]) == {"a;b": 12}

    def test_a_separator_is_in_no_name(self) -> None:
        code = compile("", "<a;b>", "exec")
        sampler = Sampler()
        sampler.spent["MainThread", (code,)] = 1_000
        assert document.profile_of(sampler, 1, "api").frames == ["event loop", "<module> (<a,b>)"]


class TestPicture:
    def shapes(self, stacks: dict[str, int]) -> dict[str, float]:
        """The width of each box by its tooltip."""
        text = flame_graph.draw("title", stacks, lambda _: "#fff", {"layer": "#fff"})
        found = {}
        for group in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}g"):  # noqa: S314 - our own
            title, box = group[0], group[1]
            found[title.text or ""] = float(box.attrib["width"])
        return found

    def test_boxes_are_as_wide_as_their_share(self) -> None:
        assert self.shapes({"a": 100, "a;b": 300, "a;<c>": 599, "d": 1}) == {
            "all (100.0%)": 1200.0,
            "a (99.9%)": 1198.8,
            "b (30.0%)": 360.0,
            "<c> (59.9%)": 718.8,
            "d (0.1%)": 1.2,
        }

    def test_what_is_too_narrow_to_be_seen_is_left_out(self) -> None:
        assert self.shapes({"a": 10_000, "b": 1}).keys() == {"all (100.0%)", "a (100.0%)"}

    def test_a_profile_of_nothing_can_be_drawn(self) -> None:
        assert self.shapes({}) == {}

    @pytest.mark.parametrize(
        ("frame", "layer"),
        [
            ("place_order (service/orders/service.py)", "features"),
            ("Route.respond (service/platform/http/route.py)", "platform"),
            ("run (service/cli/worker.py)", "platform"),
            ("FastAPI.__call__ (fastapi/applications.py)", "libraries"),
            ("Thread.run (threading.py)", "Python"),
            ("run (asyncio/runners.py)", "Python"),
            ("<module> (<string>)", "Python"),
            ("event loop", "Python"),
            ("all", "Python"),
        ],
    )
    def test_colours_are_by_layer(self, frame: str, layer: str) -> None:
        assert command._layer(frame) == layer


class TestEndpoint:
    @pytest.fixture
    async def served(self, folder: Path) -> AsyncIterator[endpoint.Endpoint]:
        async with endpoint.served(PORT, "api") as found:
            yield found

    async def opened(self, request: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(place.place(PORT, os.getpid()))
        writer.write(json.dumps(request).encode() + b"\n")
        return reader, writer

    async def answered(self, request: Any) -> dict[str, Any]:
        reader, writer = await self.opened(request)
        answer: dict[str, Any] = json.loads(await reader.read())
        writer.close()
        return answer

    @pytest.mark.usefixtures("served")
    async def test_it_answers_with_a_profile(self) -> None:
        found = document.Profile.model_validate(await self.answered({"seconds": 1}))
        assert (found.pid, found.process) == (os.getpid(), "api")

    @pytest.mark.usefixtures("served")
    @pytest.mark.parametrize(
        ("request_", "said"),
        [
            ({"seconds": 0}, "a profile takes 1 to 300 seconds"),
            ({"seconds": 301}, "a profile takes 1 to 300 seconds"),
            ({"hours": 1}, "the request is not understood; use the same version"),
            ("profile", "the request is not understood; use the same version"),
        ],
    )
    async def test_another_request_is_refused(self, request_: Any, said: str) -> None:
        assert await self.answered(request_) == {"refused": said}

    async def test_there_is_one_at_a_time_until_its_client_goes(self, served: endpoint.Endpoint) -> None:
        _, writer = await self.opened({"seconds": 300})
        await eventually(lambda: served._busy)
        refused = {"refused": "another profile is being taken; wait until it has ended"}
        assert await self.answered({"seconds": 1}) == refused
        writer.close()
        await eventually(lambda: not served._busy)
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)

    async def test_the_end_of_the_process_ends_it(self, served: endpoint.Endpoint) -> None:
        asked = asyncio.ensure_future(self.answered({"seconds": 300}))
        await eventually(lambda: served._busy)
        served.end()
        assert (await asked)["process"] == "api"
        assert await self.answered({"seconds": 1}) == {"refused": "the process is ending"}

    async def test_nothing_is_left(self, folder: Path) -> None:
        async with endpoint.served(PORT, "api"):
            assert [path.name for path in place.folder(PORT).iterdir()] == [f"{os.getpid()}.sock"]
        assert os.listdir(folder) == []  # noqa: PTH208 - nor does it block

    async def test_what_a_dead_process_left_is_replaced(self, folder: Path) -> None:
        place.bound(PORT, os.getpid()).close()
        async with endpoint.served(PORT, "api"):
            assert place.places(PORT).keys() == {os.getpid()}
            assert (await self.answered({"seconds": 0})).keys() == {"refused"}

    async def test_without_a_place_there_is_none(self, folder: Path) -> None:
        place.folder(PORT).mkdir(mode=0o755)
        async with endpoint.served(PORT, "api") as served:
            served.end()
        assert list(place.folder(PORT).iterdir()) == []
