"""Worker processes by the quota of the control group, on machines made of a few files."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.platform.config.cgroup import cpu_quota, default_workers


class TestProcessors:
    V1 = "4:cpu,cpuacct:{}\n3:memory:/elsewhere\n0::/other\n"
    MOUNT_V1 = "30 23 0:26 {} /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    MOUNT_V2 = "30 23 0:26 {} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

    def machine(self, root: Path, membership: str, mounts: str, files: Mapping[str, str]) -> Path:
        everything = {"proc/self/cgroup": membership, "proc/self/mountinfo": mounts, **files}
        for name, content in everything.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        return root

    @pytest.mark.parametrize(
        ("group", "mounted", "files", "quota"),
        [
            ("/", "/", {"cpu.max": "150000 100000\n"}, 1.5),
            ("/", "/", {"cpu.max": "max 100000\n"}, None),
            ("/pod/box", "/", {"pod/box/cpu.max": "50000 100000\n"}, 0.5),
            ("/pod/box", "/", {"pod/cpu.max": "200000 100000", "pod/box/cpu.max": "max 100000"}, 2.0),
            ("/pod/box", "/", {"pod/cpu.max": "200000 100000", "pod/box/cpu.max": "300000 100000"}, 2.0),
            ("/pod/box", "/pod/box", {"cpu.max": "400000 100000"}, 4.0),
            ("/host/path", "/pod/box", {"cpu.max": "300000 100000"}, 3.0),
            ("/../../box", "/", {"cpu.max": "300000 100000"}, 3.0),
            ("/", "/", {"cpu.max": "nonsense"}, None),
            ("/", "/", {"cpu.max": "100000 0"}, None),
            ("/", "/", {}, None),
        ],
    )
    def test_version_2(
        self, tmp_path: Path, group: str, mounted: str, files: Mapping[str, str], quota: float | None
    ) -> None:
        placed = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
        root = self.machine(tmp_path, f"0::{group}\n", self.MOUNT_V2.format(mounted), placed)
        assert cpu_quota(root) == quota

    @pytest.mark.parametrize(
        ("group", "mounted", "limit", "quota"),
        [
            ("/", "/", "250000", 2.5),
            ("/", "/", "-1", None),
            ("/docker/1", "/", "50000", 0.5),
            ("/docker/1", "/docker/1", "100000", 1.0),
        ],
    )
    def test_version_1(
        self, tmp_path: Path, group: str, mounted: str, limit: str, quota: float | None
    ) -> None:
        at = "sys/fs/cgroup/cpu" + group.removeprefix(mounted.rstrip("/")).rstrip("/")
        files = {f"{at}/cpu.cfs_quota_us": f"{limit}\n", f"{at}/cpu.cfs_period_us": "100000\n"}
        root = self.machine(tmp_path, self.V1.format(group), self.MOUNT_V1.format(mounted), files)
        assert cpu_quota(root) == quota

    def test_without_proc_there_is_no_quota(self, tmp_path: Path) -> None:
        assert cpu_quota(tmp_path) is None

    @pytest.mark.parametrize(
        ("machine", "limit", "workers"),
        [
            (64, "50000", 3),
            (64, "100000", 3),
            (64, "150000", 5),
            (64, "1600000", 33),
            (2, "1600000", 5),
            (1, "max", 3),
            (3, "max", 7),
            (4, "max", 8),
            (64, "max", 8),
        ],
    )
    def test_workers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: int, limit: str, workers: int
    ) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(machine)))
        files = {"sys/fs/cgroup/cpu.max": f"{limit} 100000\n"}
        assert default_workers(self.machine(tmp_path, "0::/\n", self.MOUNT_V2.format("/"), files)) == workers

    def test_without_affinity_every_processor_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "sched_getaffinity")
        monkeypatch.setattr(os, "cpu_count", lambda: 2)
        assert default_workers(tmp_path) == 5
