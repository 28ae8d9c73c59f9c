"""What a proof is made of: cases that do something to a running service, and what each of them found."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

Figure = str | int | float | None
#: A cell of a table for each key of `Proof.columns`.
Figures = Mapping[str, Figure]

_SYSTEM_FOLDERS: Final = "/usr/sbin:/sbin"


@dataclass(frozen=True)
class Context:
    """What a case gets: an empty folder of its own, and how much is wanted of it."""

    folder: Path
    seed: int
    #: The short form, of which all proofs together take three minutes.
    short: bool
    #: How long the whole proof may take.
    minutes: float
    #: Prints a line of progress.
    say: Callable[[str], None]
    #: The names of all cases of the run.
    cases: tuple[str, ...] = ()


@dataclass
class Result:
    """What a case found.

    `faults` are sentences about what was lost, doubled or wrong; one is enough for the run to fail.
    `missed` are goals of time that were not reached, which are reported and fail nothing: machines differ.
    `series` are points for plots, by the name of the plot.
    """

    figures: Figures = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    series: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """`name` is what ONLY= takes, `title` says in the table what is done. `needs` are names of programs, or
    root, network-namespaces, memory-cgroup; where one is missing the case is listed as not run.
    """

    name: str
    title: str
    run: Callable[[Context], Awaitable[Result]]
    needs: tuple[str, ...] = ()
    #: Whether it belongs to the short form.
    short: bool = False


@dataclass(frozen=True)
class Proof:
    """`columns` are the headings of the figures. What is not done after `minutes` is a fault."""

    name: str
    title: str
    columns: Mapping[str, str]
    cases: Sequence[Case]
    minutes: float = 15


def counted(found: Counter[str]) -> list[str]:
    """Each sentence once, with how often it holds."""
    return [f"{sentence} ({count} times)" if count > 1 else sentence for sentence, count in found.items()]


def missing(needs: Sequence[str]) -> str | None:
    """Why a case cannot run here, and what would help; None where it can."""
    reasons = [reason for need in needs if (reason := _reason(need)) is not None]
    return "; ".join(reasons) or None


@cache
def _reason(need: str) -> str | None:
    if need == "root":
        return None if os.geteuid() == 0 else "needs root"
    if need == "network-namespaces":
        return None if _succeeds("unshare", "--net", "--mount", "true") else "needs network namespaces"
    if need == "memory-cgroup":
        return None if memory_cgroups() is not None else "needs a memory cgroup that can be written"
    found = shutil.which(need) or shutil.which(need, path=_SYSTEM_FOLDERS)
    return None if found else f"needs the program {need}"


def memory_cgroups() -> Path | None:
    """The folder in which a memory cgroup can be made: version 1 or 2, whichever this machine has."""
    for folder, marker in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "cgroup.controllers"),
    ):
        path = Path(folder)
        if marker == "cgroup.controllers" and (path / marker).exists():
            if "memory" in (path / "cgroup.subtree_control").read_text().split() and os.access(path, os.W_OK):
                return path
        elif (path / marker).exists() and os.access(path, os.W_OK):
            return path
    return None


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
