"""What a check is, and what it finds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`faults` selects an id to sort by, which row it is, and what is wrong with it; `tables` are read."""

    name: str
    tables: tuple[str, ...]
    faults: str


@dataclass(frozen=True, slots=True)
class Fault:
    place: str
    fault: str


@dataclass(frozen=True, slots=True)
class Finding:
    """How many faults a check has found, and the first of them."""

    check: str
    rows: int
    faults: int
    first: tuple[Fault, ...]
