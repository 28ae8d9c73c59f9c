"""The judge of restored databases notices what is wrong; the commands that are run are documented."""

from datetime import UTC, datetime

import pytest

from proofs.load import Call
from proofs.load.receiver import Delivery
from proofs.restore import documented, judge, wal

LOG = """\
rmgr: Transaction len (rec/tot):     46/    46, tx:        749, lsn: 0/0156B8F8, prev 0/0156B8B0, \
desc: COMMIT 2026-11-30 16:50:00.000001 UTC
rmgr: Transaction len (rec/tot):     34/    34, tx:        750, lsn: 0/0156B928, prev 0/0156B8F8, \
desc: ABORT 2026-11-30 16:50:00.000002 UTC
rmgr: XLOG        len (rec/tot):    106/   106, tx:          0, lsn: 0/0156B950, prev 0/0156B928, \
desc: RESTORE_POINT here
rmgr: Transaction len (rec/tot):    501/   501, tx:        752, lsn: 1/0156B9C0, prev 0/0156B950, \
desc: COMMIT 2026-11-30 16:50:00.000004 UTC; inval msgs: catcache 51
rmgr: Transaction len (rec/tot):     46/    46, tx:        751, lsn: 1/0156BBC0, prev 0/0156B9C0, \
desc: COMMIT 2026-11-30 16:50:00.000003 UTC
"""


def change(order: int, version: int, begin: float, end: float) -> Call:
    body = {"id": order, "version": version}
    return Call("shopper-1", "shopper", "order.pay", "POST", "/orders", begin, end, status=200, body=body)


def delivery(message_id: str, order: int, *, accepted: bool = True) -> Delivery:
    return Delivery(0.0, message_id, True, "order.placed", order, 1, "", accepted)


class TestDocumented:
    def test_the_blocks_are_there(self) -> None:
        assert {name: bool(commands) for name, commands in documented.blocks().items()} == {
            "create-database": True,
            "dump": True,
            "restore-dump": True,
            "archive": True,
            "base-backup": True,
            "restore-point": True,
            "restore-point-in-time": True,
            "after-restore": True,
        }

    @pytest.mark.parametrize(
        "text",
        [
            "<!-- run: a -->\n```sh\ntrue\n```\n<!-- run: a -->\n```sh\ntrue\n```\n",
            "<!-- run: a -->\nWords.\n```sh\ntrue\n```\n",
        ],
        ids=["twice", "no block"],
    )
    def test_a_name_is_that_of_one_block(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"operations\.md"):
            documented.blocks(text)


class TestLog:
    def test_tells_what_a_restore_must_have(self) -> None:
        log = wal.parsed(LOG)
        assert log.everything() == {749, 751, 752}
        assert log.before_point("here") == {749}

    def test_a_recovery_to_a_time_ends_at_the_first_commit_that_is_later(self) -> None:
        moment = datetime(2026, 11, 30, 16, 50, 0, 3, tzinfo=UTC)
        assert wal.parsed(LOG).until(moment) == {749}
        assert wal.parsed(LOG).until(moment.replace(microsecond=4)) == {749, 751, 752}


class TestByTheLog:
    def test_finds_no_fault_in_what_the_log_says(self) -> None:
        assert judge.by_the_log({1, 2}, {1, 2}, {1, 2, 3}) == []

    def test_finds_an_order_that_is_missing_and_one_too_many(self) -> None:
        assert judge.by_the_log({2, 3, 9}, {1, 2}, {1, 2, 3}) == [
            "1 orders committed before the point, and not restored: 1",
            "1 orders committed after the point, and restored: 3",
            "1 orders placed shortly before the loss, and restored: 9",
        ]


class TestByTheClients:
    def test_what_overlaps_the_point_may_be_there_or_not(self) -> None:
        calls = [
            change(1, 1, 1.0, 2.0),
            change(1, 2, 4.0, 6.0),
            change(2, 1, 9.5, 11.0),
            change(3, 1, 12.0, 13.0),
        ]
        for versions in ({1: 1}, {1: 2, 2: 1}):
            assert judge.by_the_clients(versions, calls, 5.0, 10.0) == []

    def test_finds_a_change_that_is_lost_and_one_that_should_be(self) -> None:
        calls = [change(1, 1, 1.0, 2.0), change(1, 2, 3.0, 4.0), change(3, 1, 12.0, 13.0)]
        assert judge.by_the_clients({1: 1, 3: 1}, calls, 5.0, 10.0) == [
            "1 orders confirmed before the point, and not restored as they were: 1",
            "1 orders changed after the point, and restored with that change: 3",
        ]


class TestMessages:
    def test_may_come_twice(self) -> None:
        found = [delivery("evt_1", 1, accepted=False), delivery("evt_1", 1), delivery("evt_1", 1)]
        assert judge.messages(found, {1}) == []

    def test_finds_an_id_that_was_given_twice_and_an_order_that_was_not_announced(self) -> None:
        found = [delivery("evt_1", 1), delivery("evt_1", 2), delivery("evt_2", 3, accepted=False)]
        assert judge.messages(found, {1, 2, 3}) == [
            "1 ids of messages were given twice: evt_1",
            "1 orders that no webhook was called for: 3",
        ]
