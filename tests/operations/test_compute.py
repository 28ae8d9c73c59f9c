import asyncio
import threading

import pytest

from service.compute import service as compute
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


class Gate:
    """Stands for the sum: counts the requests in it, and keeps them until it opens."""

    def __init__(self) -> None:
        self.inside, self.most, self.threads = 0, 0, set[int]()
        self.full, self.opened = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def sum_of_squares(self, n: int) -> int:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.threads.add(threading.get_ident())
            if self.inside == compute.MAX_CONCURRENCY:
                self.full.set()
        self.opened.wait(10)
        with self._lock:
            self.inside -= 1
        return sum(i * i for i in range(n))


class TestCompute:
    @pytest.mark.parametrize(
        ("n", "result"), [(0, 0), (1, 0), (2, 1), (10, 285), (1_000_000, 333332833333500000)]
    )
    async def test_adds_up_the_squares(self, ada: Person, n: int, result: int) -> None:
        answer = await ada.api.get("/compute", params={"n": n})
        assert (answer.status_code, answer.json()) == (200, {"result": result})

    @pytest.mark.parametrize(
        "query", ["", "?n=", "?n=-1", "?n=1000001", "?n=many", "?n=1.5", "?n=" + "9" * 900]
    )
    async def test_n_is_required_and_bounded(self, ada: Person, query: str) -> None:
        assert_problem(await ada.api.get(f"/compute{query}"), 422, "invalid_input", "?n")

    async def test_is_for_administrators(self, api: Api, make: Make) -> None:
        assert_problem(await api.get("/compute?n=1"), 401, "unauthenticated")
        assert_problem(await (await make.user()).api.get("/compute?n=1"), 403, "forbidden")


class TestAtMostTwo:
    async def test_a_third_waits_and_the_loop_goes_on(
        self, ada: Person, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate()
        monkeypatch.setattr(compute, "sum_of_squares", gate.sum_of_squares)
        running = [asyncio.create_task(ada.api.get(f"/compute?n={n}")) for n in range(5)]
        assert await asyncio.to_thread(gate.full.wait, 60)
        # Others are answered meanwhile, and a refusal takes no place.
        assert (await api.root("/livez")).status_code == 200
        assert_problem(await ada.api.get("/compute?n=-1"), 422, "invalid_input", "?n")
        assert_problem(await api.get("/compute?n=1"), 401, "unauthenticated")
        assert not any(task.done() for task in running)
        gate.opened.set()
        answers = await asyncio.gather(*running)
        assert [answer.json()["result"] for answer in answers] == [0, 0, 1, 5, 14]
        assert gate.most == compute.MAX_CONCURRENCY
        assert threading.get_ident() not in gate.threads

    async def test_who_leaves_gives_the_place_back(self, ada: Person) -> None:
        for _ in range(2):
            leaving = [asyncio.create_task(ada.api.get("/compute?n=300000")) for _ in range(3)]
            await asyncio.sleep(0.01)
            for task in leaving:
                task.cancel()
            await asyncio.wait(leaving)
        async with asyncio.timeout(60):
            assert (await ada.api.get("/compute?n=2")).json() == {"result": 1}
