"""What n requests a second need, from the costs in bench/scaling.toml: the tables of docs/scaling.md.

    python tools/scaling.py

writes them between the marks in the document. Nothing is measured here.
"""

import math
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NUMBERS, DOCUMENT = ROOT / "bench" / "scaling.toml", ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- {name}: written by `make scaling` -->", "<!-- end of {name} -->"
RATES = (100, 1_000, 10_000, 100_000, 10_000_000)
HOURS = 730
GIB = 1024**3
NAMES = {
    "item_from_memory": "an item, anonymously: from the cache",
    "item_signed_in": "an item, signed in: from the cache",
    "list_of_20": "a list of twenty items, signed in: from the cache",
    "item": "an item, signed in: from the database",
    "profile": "the caller's profile: from the database",
    "order": "an order of two lines",
    "sign_in": "signing in (argon2id)",
}

Numbers = dict[str, Any]


class Need:
    """Of so many requests a second."""

    def __init__(self, rate: int, numbers: Numbers) -> None:
        measured, assumed = numbers["measured"], numbers["assumed"]
        mix = assumed["mix"]
        follows = measured["order_and_what_follows"]
        self.rate, self.orders = rate, rate * mix["order"]
        api = sum(rate * part * measured[name]["api"] for name, part in mix.items()) / 1e6
        jobs = self.orders * follows["worker"] / 1e6
        plain = sum(rate * part * measured[name]["postgres"] for name, part in mix.items() if name != "order")
        busy = assumed["busy"]
        self.api_vcpus = api / busy
        # One process is one processor; two pods at least, so that one may go.
        self.workers = max(math.ceil(self.api_vcpus), 2 * assumed["workers_per_pod"])
        self.pods = math.ceil(self.workers / assumed["workers_per_pod"])
        self.job_pods = max(math.ceil(jobs / busy), 2)
        self.postgres_vcpus = (plain + self.orders * follows["postgres"]) / 1e6 / busy
        processes = self.pods * assumed["workers_per_pod"] + self.job_pods
        self.connections = processes * assumed["connections_per_worker"]
        self.listeners = processes
        self.wal_mib = self.orders * follows["wal_bytes"] / 1024**2
        self.stored_gib = self.orders * follows["stored_bytes"] * 86_400 * 365 / GIB
        self.postgres_machines = max(1, math.ceil(self.postgres_vcpus / assumed["postgres_vcpus"]))
        self._price(assumed)

    def _price(self, assumed: Numbers) -> None:
        nodes = (self.pods * assumed["cpu_per_pod"] + self.job_pods) * assumed["node_vcpu_hour"] * HOURS
        # A whole processor is the least that is sold; twice, for the standby is in the price of one.
        database = max(2, math.ceil(self.postgres_vcpus)) * assumed["database_vcpu_hour"] * HOURS
        storage = self.stored_gib * assumed["storage_gib_month"]
        egress = self.rate * assumed["answer_bytes"] * 3600 * HOURS / GIB * assumed["egress_gib"]
        self.money: dict[str, float] = {
            "pods": nodes,
            "database": database,
            "storage": storage,
            "egress": egress,
        }

    @property
    def dollars(self) -> float:
        return sum(self.money.values())


def costs(numbers: Numbers) -> str:
    measured, mix = numbers["measured"], numbers["assumed"]["mix"]
    lines = [
        "| microseconds of CPU | worker | PostgreSQL | of 100 requests |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, words in NAMES.items():
        cost = measured[name]
        lines.append(f"| {words} | {cost['api']:,} | {cost['postgres']:,} | {mix[name] * 100:g} |")
    follows = measured["order_and_what_follows"]
    lines.append(
        f"| what follows from an order, in `tradepost worker`; PostgreSQL for the order and all of it"
        f" | {follows['worker']:,} | {follows['postgres']:,} | |"
    )
    lines += ["", f"Measured on {measured['date']}: {measured['where']}."]
    lines.append(
        f"An order with all that follows writes {follows['wal_bytes'] / 1024:,.0f} KiB of PostgreSQL's log,"
        f" and adds {follows['stored_bytes'] / 1024:,.0f} KiB to the database."
    )
    return "\n".join(lines)


COLUMNS: tuple[tuple[str, Callable[[Need], str]], ...] = (
    ("requests a second", lambda need: f"{need.rate:,}"),
    ("orders a second", lambda need: f"{need.orders:,.0f}"),
    ("API pods", lambda need: f"{need.pods:,}"),
    ("worker pods", lambda need: f"{need.job_pods:,}"),
    ("connections", lambda need: f"{need.connections:,}"),
    ("PostgreSQL's processors", lambda need: f"{max(need.postgres_vcpus, 0.1):,.1f}"),
    ("its log, MiB/s", lambda need: f"{need.wal_mib:,.1f}"),
    ("GiB a year", lambda need: f"{need.stored_gib:,.0f}"),
    ("$ a month", lambda need: f"{round(need.dollars, -1):,.0f}"),
)


def needs(numbers: Numbers) -> str:
    lines = ["| " + " | ".join(title for title, _ in COLUMNS) + " |", "|" + " ---: |" * len(COLUMNS)]
    for rate in RATES:
        need = Need(rate, numbers)
        lines.append("| " + " | ".join(tell(need) for _, tell in COLUMNS) + " |")
    return "\n".join(lines)


def money(numbers: Numbers) -> str:
    lines = ["| requests a second | pods | database | storage | sent out |", "|" + " ---: |" * 5]
    for rate in RATES:
        need = Need(rate, numbers)
        parts = " | ".join(f"{round(part, -1):,.0f}" for part in need.money.values())
        lines.append(f"| {rate:,} | {parts} |")
    assumed = numbers["assumed"]
    lines += ["", (
        f"Dollars a month, at {assumed['node_vcpu_hour']} for a processor of a node and"
        f" {assumed['database_vcpu_hour']} for one of a database with a standby an hour,"
        f" {assumed['storage_gib_month']} for a gibibyte stored and {assumed['egress_gib']} for one sent out."
        f" A pod's {assumed['workers_per_pod']} processes have {assumed['cpu_per_pod']:g} processors."
    )]  # fmt: skip
    return "\n".join(lines)


TABLES: dict[str, Callable[[Numbers], str]] = {"costs": costs, "needs": needs, "money": money}


def document(text: str, numbers: Numbers) -> str:
    """The document with its tables as the numbers make them."""
    for name, table in TABLES.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            sys.exit(f"scaling: {DOCUMENT.name} has no marks for the table of {name}")
        text = f"{before}{begin}\n\n{table(numbers)}\n\n{end}{after}"
    return text


def main() -> int:
    numbers = tomllib.loads(NUMBERS.read_text())
    DOCUMENT.write_text(document(DOCUMENT.read_text(), numbers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
