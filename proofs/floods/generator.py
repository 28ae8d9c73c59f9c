"""Runs generator.c, which sends requests at a given rate, and reads what it has measured."""

import asyncio
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

SOURCE: Final = Path(__file__).with_name("generator.c")
#: Its names for what has no status.
NOT_ANSWERED: Final = ("unsent", "timed_out", "broken")
#: In a request it is replaced by the number of the request, in as many digits.
NUMBER: Final = "#" * 10


@dataclass(frozen=True)
class Outcome:
    """The requests that were answered with one status. Percentiles are from the moment they were due."""

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    without_retry_after: int = 0


@dataclass(frozen=True)
class Second:
    """What was answered in one second, by status; `t` is its end, in seconds since the start."""

    t: float
    outcomes: dict[str, Outcome]


@dataclass(frozen=True)
class Measured:
    """`began` is a reading of the monotonic clock."""

    began: float
    seconds: list[Second]
    outcomes: dict[str, Outcome]

    @classmethod
    def read(cls, lines: Iterable[str]) -> Self:
        first, *others, last = [json.loads(line) for line in lines]
        seconds = [Second(each["t"], _outcomes(each)) for each in others]
        return cls(first["began"], seconds, _outcomes(last))

    def of(self, status: str) -> Outcome:
        return self.outcomes.get(status, Outcome())


def _outcomes(line: dict[str, Any]) -> dict[str, Outcome]:
    return {status: Outcome(**found) for status, found in line["outcomes"].items()}


async def compiled(folder: Path) -> Path:
    """The program, in this folder. Raises RuntimeError with what the compiler says."""
    program = folder / "generator"
    compiler = await asyncio.create_subprocess_exec(
        "gcc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE), stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await compiler.communicate()
    if compiler.returncode:
        raise RuntimeError(complaints.decode())
    return program


def request(method: str, path: str, headers: dict[str, str] | None = None, body: str | bytes = b"") -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"] if content else []
    return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass(frozen=True)
class Generator:
    """`core` is the one that it runs on, where it matters."""

    program: Path
    port: int
    core: int | None = None

    async def run(
        self,
        requests: list[bytes],
        *,
        rate: float,
        seconds: float,
        connections: int,
        patience: float = 5.0,
        wait: float | None = None,
        created: Path | None = None,
    ) -> Measured:
        """Send these in turn. With `rate` 0 each connection sends as soon as it has its response.

        `patience`: for a response; `wait`: for a free connection, as long as that unless it is given.
        `created` is written: the number of each request that was answered with 201.
        """
        file = self.program.with_name(f"requests-{id(requests)}-{os.urandom(4).hex()}")
        file.write_bytes(b"".join(b"%d\n" % len(each) + each for each in requests))
        times = [int(each * 1000) for each in (patience, patience if wait is None else wait)]
        arguments = [
            self.port,
            rate,
            seconds,
            connections,
            *times,
            file,
            *filter(None, [created]),
        ]
        process = await asyncio.create_subprocess_exec(
            self.program, *map(str, arguments), stdout=asyncio.subprocess.PIPE
        )
        try:
            if self.core is not None:
                os.sched_setaffinity(process.pid, {self.core})
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
            file.unlink()
        return Measured.read(output.decode().splitlines())
