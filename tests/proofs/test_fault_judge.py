"""The judge of faults notices what it is there to notice: each case breaks one thing of a run that held."""

from dataclasses import replace
from typing import Any

import pytest

from proofs.faults.judge import Observed, Outage, compare, judge, lines_of
from proofs.load import ABANDONED, Call

PROBLEM = "application/problem+json"
#: Nothing is wrong before 10 and after 40.
OUTAGE = Outage(10.0, 40.0)


def call(begin: float, end: float, **given: Any) -> Call:
    fields: dict[str, Any] = {"client": "reader-1", "kind": "reader", "operation": "item.read", "status": 200}
    return Call(method="GET", path="/items", begin=begin, end=end, **(fields | given))


def unavailable(begin: float, end: float, **given: Any) -> Call:
    fields = {"status": 503, "code": "unavailable", "retry_after": "1", "media": PROBLEM}
    return call(begin, end, **(fields | given))


def observed(*calls: Call, **given: Any) -> Observed:
    """A run that held, and these calls."""
    held = [call(1.0, 1.1), call(2.0, 2.1), unavailable(12.0, 12.5), call(40.0, 40.2), call(50.0, 50.1)]
    fields: dict[str, Any] = {"outages": [OUTAGE], "deliveries": [41.0], "kinds": frozenset({"reader"})}
    return Observed([*held, *calls], **(fields | given))


def test_a_run_that_held() -> None:
    found = judge(observed())
    assert (found.faults, found.missed) == ([], [])
    assert found.figures == {
        "outage": 30.0, "calls": 5, "refused": 1, "unknown": 0, "hang": 0.5, "recovery": 0.2, "hooks": 1.0,
        "p50": 2.0, "p99": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (call(20, 20.1, status=500), "GET item.read: status 500"),
        (call(20, 20.1, status=502), "GET item.read: status 502"),
        (unavailable(20, 20.1, retry_after=None), "GET item.read: a 503 without Retry-After"),
        (unavailable(20, 20.1, code=None), f"GET item.read: a 503 that is no problem: {PROBLEM}"),
        (unavailable(20, 20.1, media="text/html"), "GET item.read: a 503 that is no problem: text/html"),
        (unavailable(5, 5.1), "GET item.read: a 503 (unavailable) while nothing was wrong"),
        (unavailable(60, 60.1), "GET item.read: a 503 (unavailable) while nothing was wrong"),
        (call(11, 30), "GET item.read: an answer took longer than 18 s"),
        (call(11, 12, status=None, error="ReadError('')"), "GET item.read: no answer: ReadError('')"),
        (call(11, 19, status=None, error="ReadTimeout('')"), "GET item.read: no answer: ReadTimeout('')"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_a_fault(broken: Call, fault: str) -> None:
    assert judge(observed(broken)).faults == [fault]
    assert judge(observed(broken, broken)).faults == [f"{fault} (2 times)"]


def test_what_a_client_did_not_wait_for_is_none() -> None:
    assert judge(observed(call(11, 12, status=None, error=ABANDONED))).faults == []


@pytest.mark.parametrize(
    ("error", "excused"), [("ReadError('')", True), ("ConnectError('')", True), ("ReadTimeout('')", False)]
)
def test_a_killed_process_breaks_connections_and_hangs_none(error: str, excused: bool) -> None:
    during = observed(call(11, 12, status=None, error=error), outages=[replace(OUTAGE, broken=True)])
    assert (judge(during).faults == []) is excused
    before = observed(call(1, 2, status=None, error=error), outages=[replace(OUTAGE, broken=True)])
    assert judge(before).faults == [f"GET item.read: no answer: {error}"]


def test_oauth_has_errors_of_another_form() -> None:
    oauth = unavailable(20, 20.1, media="application/json", code="temporarily_unavailable")
    oauth.path = "/auth/token"
    assert judge(observed(oauth)).faults == []
    oauth.media = PROBLEM
    assert judge(observed(oauth)).faults == [f"GET item.read: a 503 that is no problem: {PROBLEM}"]


class TestRecovery:
    def test_a_kind_that_comes_late_misses_the_goal(self) -> None:
        late = call(40.1, 43.5, kind="shopper")
        found = judge(observed(late, kinds=frozenset({"reader", "shopper"})))
        assert (found.faults, found.missed) == (
            [],
            ["shopper had the first good answer 3.5 s after the fault's end"],
        )
        assert found.figures["recovery"] == 3.5

    def test_a_kind_that_never_comes(self) -> None:
        found = judge(observed(kinds=frozenset({"reader", "shopper"})))
        assert found.missed == ["shopper had the first good answer never after the fault's end"]

    def test_the_slowest_of_several_faults_counts(self) -> None:
        found = judge(observed(call(60.0, 64.0), outages=[OUTAGE, Outage(55.0, 61.0)]))
        assert found.missed == ["reader had the first good answer 3.0 s after the fault's end"]

    def test_an_error_after_the_time_is_reported(self) -> None:
        assert judge(observed(unavailable(43, 43.1))).missed == [
            "1 errors more than 2 s after the fault's end"
        ]


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ({"level": "error", "event": "request.failed"}, ["the log has the error request.failed"]),
        ({"level": "warning", "event": "odd", "exception": "..."}, ["the log has a traceback with odd"]),
        (
            {"level": "info", "event": "request.answered", "status": 500, "method": "GET", "route": "/items"},
            ["the log has a 500: GET /items"],
        ),
        ({"level": "info", "event": "request.answered", "status": 503}, []),
        ({"level": "warning", "event": "database.fault_met"}, []),
        ({"level": "error", "event": "changes.not_heard"}, []),
    ],
)
def test_an_error_in_the_log_is_a_fault_unless_it_is_explained(
    line: dict[str, Any], faults: list[str]
) -> None:
    explained = frozenset({"changes.not_heard"})
    assert judge(observed(lines=[line], explained=explained)).faults == faults


def test_a_line_that_is_no_json_is_an_error() -> None:
    assert lines_of('{"event": "a"}\nTraceback\n{"event": "not whole"') == [
        {"event": "a"},
        {"level": "error", "event": "no JSON: Traceback"},
    ]


class TestOrders:
    PLACED = call(1, 2, operation="order.place", key="k1", status=201, body={"id": 7})

    def test_each_is_there_once(self) -> None:
        assert compare([self.PLACED, self.PLACED], [(7, "k1")]) == []

    def test_one_that_was_confirmed_and_is_gone(self) -> None:
        assert compare([self.PLACED], []) == ["the order 7 was confirmed (key k1) and is not there"]

    def test_one_whose_answer_was_lost_may_be_there_or_not(self) -> None:
        unknown = unavailable(1, 2, operation="order.place", key="k2", code="outcome_unknown")
        assert compare([unknown], []) == compare([unknown], [(8, "k2")]) == []

    def test_a_key_that_made_two(self) -> None:
        assert compare([self.PLACED], [(7, "k1"), (8, "k1")]) == ["the key k1 made 2 orders"]

    def test_a_key_whose_order_is_another(self) -> None:
        assert compare([self.PLACED], [(8, "k1")]) == ["the order 7 was confirmed (key k1) and is not there"]
