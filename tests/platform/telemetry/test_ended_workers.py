"""Workers that have ended leave one file of each kind for all of them, and no count is lost."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, multiprocess

from service.platform.telemetry import ended_workers, exemplars
from tests.server.process import REPOSITORY, environment

COUNT = """
import os, sys
from prometheus_client import Counter, Histogram
Counter("orders", "Orders.", ["way"]).labels("by the \\u00e9cole").inc(3)
Histogram("seconds", "Seconds.", buckets=(1, 2)).observe(1.5)
print(os.getpid())
"""
#: Above every number that the kernel gives.
NO_PROCESS = 2**22
NAMES = (
    "orders_total",
    "seconds_sum",
    "seconds_count",
    "seconds_bucket 1.0",
    "seconds_bucket 2.0",
    "seconds_bucket +Inf",
)


def worker(folder: Path) -> int:
    """One that counts something and ends; its process id."""
    env = environment(folder, PROMETHEUS_MULTIPROC_DIR=folder)
    ended = subprocess.run(
        [sys.executable, "-c", COUNT], env=env, cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return int(ended.stdout)


def counted(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return {
        f"{sample.name} {sample.labels.get('le', '')}".strip(): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in {".db", ".jsonl", ".new"})


class TestFold:
    def test_keeps_every_count_in_one_file_of_each_kind(self, tmp_path: Path) -> None:
        for times in range(1, 4):
            pid = worker(tmp_path)
            before = counted(tmp_path)
            ended_workers.fold(tmp_path, pid)
            assert files(tmp_path) == ["counter_0.db", "histogram_0.db"]
            assert counted(tmp_path) == before
            assert [before[name] for name in NAMES] == [3 * times, 1.5 * times, times, 0, times, times]

    def test_waits_for_no_scrape_and_makes_up_for_it_later(self, tmp_path: Path) -> None:
        first = worker(tmp_path)
        with ended_workers.reading(tmp_path):
            ended_workers.fold(tmp_path, first)
        assert files(tmp_path) == [f"counter_{first}.db", f"histogram_{first}.db"]
        ended_workers.fold(tmp_path, worker(tmp_path))
        assert files(tmp_path) == ["counter_0.db", "histogram_0.db"]
        assert counted(tmp_path)["orders_total"] == 6

    @pytest.mark.parametrize("damaged", [b"", b"\x40\0\0\0\0\0\0\0" + b"\x7f" * 56])
    def test_a_damaged_file_ends_nothing_and_keeps_no_other_back(
        self, tmp_path: Path, damaged: bytes
    ) -> None:
        (tmp_path / f"counter_{NO_PROCESS}.db").write_bytes(damaged)
        ended_workers.fold(tmp_path, NO_PROCESS)
        ended_workers.fold(tmp_path, worker(tmp_path))
        assert files(tmp_path) == ["counter_0.db", f"counter_{NO_PROCESS}.db", "histogram_0.db"]

    def test_a_folder_without_room_keeps_what_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError("No space left on device")

        pid = worker(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", full)
            ended_workers.fold(tmp_path, pid)
        assert counted(tmp_path)["orders_total"] == 3
        ended_workers.fold(tmp_path, worker(tmp_path))
        assert files(tmp_path) == ["counter_0.db", "histogram_0.db"]
        assert counted(tmp_path)["orders_total"] == 6

    def test_keeps_the_newest_exemplar_of_each_sample(self, tmp_path: Path) -> None:
        for pid, value in ((NO_PROCESS, 1.0), (NO_PROCESS + 1, 2.0)):
            line = f'[["seconds_bucket", {{"le": "2.0"}}], {{"trace_id": "{pid}"}}, {value}, {value}]\n'
            (tmp_path / f"exemplars_{pid}.jsonl").write_text(line + '[["cut')
            ended_workers.fold(tmp_path, pid)
        assert files(tmp_path) == ["exemplars_0.jsonl"]
        [found] = exemplars.newest(tmp_path).values()
        assert (found.labels, found.value) == ({"trace_id": str(NO_PROCESS + 1)}, 2.0)
