"""The tables of docs/scaling.md are what the measured numbers make."""

import tomllib
from pathlib import Path

import pytest

from tools import scaling

ROOT = Path(__file__).parents[2]
NUMBERS = tomllib.loads((ROOT / "bench" / "scaling.toml").read_text())


def test_the_tables_are_what_the_numbers_make() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    assert scaling.document(text, NUMBERS) == text, "make scaling"


def test_the_mix_is_a_whole() -> None:
    assert sum(NUMBERS["assumed"]["mix"].values()) == pytest.approx(1)
    assert set(NUMBERS["assumed"]["mix"]) == set(scaling.NAMES) == set(NUMBERS["measured"]) - {
        "date", "where", "order_and_what_follows",
    }  # fmt: skip


def test_the_arithmetic() -> None:
    """By hand, with round numbers."""
    cost = {"api": 100, "postgres": 50}
    numbers = {
        "measured": dict.fromkeys(scaling.NAMES, cost)
        | {"order_and_what_follows": {
            "worker": 1_000, "postgres": 200, "wal_bytes": 1024 * 1024, "stored_bytes": 1024,
        }},
        "assumed": NUMBERS["assumed"]
        | {"busy": 0.5, "workers_per_pod": 2, "connections_per_worker": 8, "cpu_per_pod": 2.0}
        | {"mix": {"item": 0.9, "order": 0.1}},
    }  # fmt: skip
    need = scaling.Need(100_000, numbers)
    assert need.orders == 10_000
    assert (need.api_vcpus, need.workers, need.pods) == (20, 20, 10)
    assert need.job_pods == 20
    assert need.postgres_vcpus == (90_000 * 50 + 10_000 * 200) / 1e6 / 0.5
    assert need.connections == (20 + 20) * 8
    assert need.wal_mib == 10_000
    assert scaling.Need(1, numbers).pods == 2
