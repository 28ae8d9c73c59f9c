"""What a process sends of its profile: names of functions and files, and no values."""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import PurePath
from types import CodeType
from typing import Final

from pydantic import BaseModel

from service.platform.server.profiling.sampler import Sampler

#: What is below it in the main thread is how the process was started, the same in every sample.
LOOP: Final = ("Runner.run", "asyncio/runners.py")
NUMBERS: Final = re.compile(r"[-_ ]*\(?\d.*$")


class Request(BaseModel):
    """One line of JSON."""

    seconds: int


class Profile(BaseModel):
    """The answer to it. Each stack is a row of indices into `frames`, from the outermost function."""

    pid: int
    process: str
    samples: int
    frames: list[str]
    stacks: list[tuple[list[int], int]]


class Refusal(BaseModel):
    """The other answer to it."""

    refused: str


def profile_of(sampler: Sampler, pid: int, process: str) -> Profile:
    numbers: dict[str, int] = {}
    stacks: list[tuple[list[int], int]] = []
    for (thread, codes), spent in sampler.spent.items():
        names = [_thread(thread), *_names(codes)]
        stacks.append(([numbers.setdefault(name, len(numbers)) for name in names], spent // 1000))
    return Profile(pid=pid, process=process, samples=sampler.samples, frames=list(numbers), stacks=stacks)


def merged(profiles: list[Profile]) -> dict[str, int]:
    """Microseconds of CPU time by stack, in the folded form that flame graphs are made from: `a;b;c`."""
    stacks: dict[str, int] = {}
    for profile in profiles:
        for row, spent in profile.stacks:
            stack = ";".join(profile.frames[number] for number in row)
            stacks[stack] = stacks.get(stack, 0) + spent
    return {stack: spent for stack, spent in stacks.items() if spent}


def _thread(name: str) -> str:
    """Of a pool all threads are one."""
    return "event loop" if name == "MainThread" else f"thread {NUMBERS.sub('', name) or 'without a name'}"


def _names(codes: tuple[CodeType, ...]) -> Iterator[str]:
    names = [_name(code) for code in codes]
    loop = f"{LOOP[0]} ({LOOP[1]})"
    yield from names[names.index(loop) + 1 :] if loop in names else names


@cache
def _name(code: CodeType) -> str:
    return f"{code.co_qualname} ({_file(code.co_filename)})".replace(";", ",")


@cache
def _file(path: str) -> str:
    """As it is imported: without the folder of the packages or of the standard library."""
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        if PurePath(path).is_relative_to(folder):
            return str(PurePath(path).relative_to(folder))
    return path
