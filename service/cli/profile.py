"""Profile the running processes of this pod: what they spend CPU time on, as a flame graph.

Standard output is the document; all else goes to standard error.
"""

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from service import __version__
from service.errors import CommandError
from service.platform.server.profiling import place
from service.platform.server.profiling.document import Profile, Refusal, Request, merged
from service.platform.server.profiling.endpoint import MAX_SECONDS
from service.platform.server.profiling.flame_graph import draw

#: Longer than a process takes to notice that the time is over, and to send what it has.
PATIENCE_SECONDS: Final = 15.0
#: Layers and their colours. `sys.stdlib_module_names` tells the standard library from other packages.
COLOURS: Final = {
    "features": "#8fce9b",
    "platform": "#7fb2e5",
    "libraries": "#e5a57f",
    "Python": "#c4c9cf",
}
NO_PROCESS: Final = (
    "No process with PORT {port} is there to be profiled. Run it where `tradepost serve` or `tradepost "
    "worker` runs, as that user: kubectl exec deploy/tradepost -- tradepost profile"
)
NO_PROFILE: Final = "No process has answered: all have ended."
DEFAULT_SECONDS: Final = 30


def run(seconds: str, output: str, worker: str) -> int:
    if output not in FORMATS | {"": None}:
        raise CommandError(f"--format is {', '.join(FORMATS)}")
    length = _number("--seconds", seconds, default=DEFAULT_SECONDS)
    if not 1 <= length <= MAX_SECONDS:
        raise CommandError(f"--seconds is 1 to {MAX_SECONDS}")
    places = _places(_number("--worker", worker, default=0))
    began = time.monotonic()
    with asyncio.Runner() as runner:
        profiles = runner.run(_profiles(places, length))
    # A drain ends it sooner.
    lasted = min(length, math.ceil(time.monotonic() - began))
    if not profiles:
        raise CommandError(NO_PROFILE)
    stacks = merged(profiles)
    which = " and ".join(sorted({profile.process for profile in profiles}))
    used = sum(stacks.values()) / 1e6
    processes = _counted(len(profiles), "process", "processes")
    title = f"CPU time in {lasted} s of {processes} ({which}): {used:.2f} s"
    print(FORMATS[output or "svg"](title, stacks), end="", flush=True)
    samples = sum(profile.samples for profile in profiles)
    print(f"{title}, {_counted(samples, 'sample', 'samples')}", file=sys.stderr)
    return 0


def _number(name: str, text: str, *, default: int) -> int:
    if text and not text.isdecimal():
        raise CommandError(f"{name} is a number")
    return int(text or default)


def _places(worker: int) -> dict[int, Path]:
    """Of the processes that share this environment's PORT, or of the one that is asked for."""
    port = os.environ.get("PORT") or "8000"
    try:
        found = place.places(int(port)) if port.isdecimal() else {}
    except PermissionError as fault:
        raise CommandError(
            f"{fault}: what it has is not asked. Remove it, then restart the service"
        ) from None
    if not found:
        raise CommandError(NO_PROCESS.format(port=port))
    if worker and worker not in found:
        listed = ", ".join(map(str, found))
        raise CommandError(f"There is no process {worker} to be profiled; there are: {listed}")
    return {worker: found[worker]} if worker else found


async def _profiles(places: dict[int, Path], seconds: int) -> list[Profile]:
    """Of those that answer. The first refusal ends those of all."""
    try:
        async with asyncio.TaskGroup() as group:
            asked = {pid: group.create_task(_ask(pid, path, seconds)) for pid, path in places.items()}
    except* CommandError as faults:
        raise faults.exceptions[0] from None
    return [profile for each in asked.values() if (profile := each.result()) is not None]


async def _ask(pid: int, path: Path, seconds: int) -> Profile | None:
    """None where no process is behind the socket any more, or where it ended first."""
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=2**26)
    except (ConnectionRefusedError, FileNotFoundError):
        with suppress(OSError):
            path.unlink()  # noqa: ASYNC240 - it does not block
        return None
    try:
        writer.write(Request(seconds=seconds).model_dump_json().encode() + b"\n")
        print(f"process {pid}: profiled for {seconds} s", file=sys.stderr)
        async with asyncio.timeout(seconds + PATIENCE_SECONDS):
            answer = await reader.read()
    except (OSError, TimeoutError):
        answer = b""
    finally:
        writer.close()
    if not answer:
        print(f"process {pid}: ended without an answer", file=sys.stderr)
        return None
    if answer.startswith(b'{"refused"'):
        raise CommandError(f"process {pid}: {Refusal.model_validate_json(answer).refused}")
    return Profile.model_validate_json(answer)


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _svg(title: str, stacks: dict[str, int]) -> str:
    return draw(title, stacks, lambda path: COLOURS[_layer(path[-1] if path else "")], COLOURS)


def _layer(frame: str) -> str:
    """By the file of a frame. The roots of stacks have none."""
    file = frame.partition(" (")[2]
    if file.startswith("service/"):
        return "platform" if file.startswith(("service/platform/", "service/cli/")) else "features"
    top = file.partition("/")[0].removesuffix(")").removesuffix(".py")
    return "Python" if not file or top in sys.stdlib_module_names or top.startswith("<") else "libraries"


def _folded(_: str, stacks: dict[str, int]) -> str:
    """As flamegraph.pl, inferno and speedscope read it; the numbers are microseconds."""
    return "".join(f"{stack} {spent}\n" for stack, spent in sorted(stacks.items()))


def _speedscope(title: str, stacks: dict[str, int]) -> str:
    numbers: dict[str, int] = {}
    samples = [[numbers.setdefault(name, len(numbers)) for name in stack.split(";")] for stack in stacks]
    profile = {
        "type": "sampled",
        "name": title,
        "unit": "microseconds",
        "startValue": 0,
        "endValue": sum(stacks.values()),
        "samples": samples,
        "weights": list(stacks.values()),
    }
    document = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"tradepost {__version__}",
        "name": title,
        "shared": {"frames": [{"name": name} for name in numbers]},
        "profiles": [profile],
    }
    return json.dumps(document) + "\n"


FORMATS: Final[dict[str, Callable[[str, dict[str, int]], str]]] = {
    "svg": _svg,
    "folded": _folded,
    "speedscope": _speedscope,
}
