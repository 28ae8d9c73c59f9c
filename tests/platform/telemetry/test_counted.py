"""Figures that the process moves by itself are read by tests alone in it."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform.telemetry.counted import alone

TESTS = Path(__file__).parents[2]
#: What the application of the tests asks its database, its pulse and its looks at itself, all the time.
MOVED = ("database_pool_", "database_query_", "database_up", "event_loop_", "thread_pool_", "change_feed_")


def reading_tests(source: str) -> Iterator[tuple[str, bool]]:
    """Tests that read such a figure, and whether they share the application's event loop."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            read = [part.args[0] for part in ast.walk(node) if isinstance(part, ast.Call) and part.args]
            texts = [each.value for each in read if isinstance(each, ast.Constant)]
            if any(isinstance(text, str) and text.startswith(MOVED) for text in texts):
                is_alone = any(
                    isinstance(each, ast.Name) and each.id == "alone" for each in node.decorator_list
                )
                yield node.name, isinstance(node, ast.AsyncFunctionDef) and not is_alone


def test_no_test_counts_what_others_move() -> None:
    files = {file: list(reading_tests(file.read_text())) for file in TESTS.rglob("test_*.py")}
    assert sum(map(len, files.values())) >= 7
    shared = [f"{file.name}: {name}" for file, tests in files.items() for name, shares in tests if shares]
    assert shared == []


def test_one_that_does_would_be_found() -> None:
    counting = "async def test_x(): assert counted('database_pool_wait_seconds_count') == 2"
    assert list(reading_tests(counting)) == [("test_x", True)]
    assert list(reading_tests(f"@alone\n{counting}")) == [("test_x", False)]


class TestAlone:
    @pytest.fixture
    async def beats(self) -> list[int]:
        """Of a task in the loop of the other tests, which goes on until they end."""
        beats: list[int] = []

        async def beat() -> None:
            while len(beats) < 10_000:
                beats.append(1)
                await asyncio.sleep(0)

        self.beating = asyncio.create_task(beat())
        return beats

    async def test_others_run_beside_a_test(self, beats: list[int]) -> None:
        before = len(beats)
        await asyncio.sleep(0.01)
        assert len(beats) > before
        await self.beating

    def test_but_stand_still_beside_one_that_is_alone(self, beats: list[int]) -> None:
        before = len(beats)

        @alone
        async def test() -> None:
            await asyncio.sleep(0.01)

        test()
        assert len(beats) == before
