"""Runs a case in a network, mount and process namespace of its own, where packets can be dropped, a folder be
a small disk, and names lead elsewhere. All of it is gone with the case's process.
"""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from proofs.cases import Context, Result
from proofs.page import ROOT
from tests.webhooks.in_namespace import NameServer

NEEDS: Final = ("root", "network-namespaces")
UNSHARE: Final = (
    "unshare", "--net", "--mount", "--propagation", "private",
    "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip
#: Not -m: the package has imported this module already.
_MAIN: Final = "import sys; from proofs.faults import inside; inside.main(sys.argv[1])"
_END_SECONDS: Final = 30.0


def in_namespace(case: Callable[[Context], Awaitable[Result]]) -> Callable[[Context], Awaitable[Result]]:
    """The case, run there."""

    async def run(context: Context) -> Result:
        result = context.folder / "result.json"
        given = {"folder": str(context.folder), "seed": context.seed, "short": context.short}
        given |= {"minutes": context.minutes, "case": f"{case.__module__}:{case.__name__}"}
        command = [*UNSHARE, sys.executable, "-c", _MAIN, json.dumps(given)]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                context.say(line.decode().rstrip())
            await process.wait()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await asyncio.wait_for(process.wait(), _END_SECONDS)
        if not result.exists():
            raise RuntimeError(f"the case ended with {process.returncode} in its namespace")
        return Result(**json.loads(result.read_text()))

    return run


def tool(*command: str) -> None:
    """Run a program of the system's; what it says on its error output is raised."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()}")


def drop(*match: str) -> None:
    """Packets like these arrive nowhere from now on."""
    tool("iptables", "-w", "-A", "INPUT", *match, "-j", "DROP")


def drop_nothing() -> None:
    tool("iptables", "-w", "-F", "INPUT")


def name_server(folder: Path) -> NameServer:
    """The only one that this namespace asks. It answers every name with its `addresses`."""
    file = folder / "resolv.conf"
    file.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    tool("mount", "--bind", str(file), "/etc/resolv.conf")
    return NameServer()


def main(argument: str) -> None:
    given: dict[str, Any] = json.loads(argument)
    module, _, name = given.pop("case").partition(":")
    folder = Path(given.pop("folder"))
    context = Context(folder=folder, say=lambda text: print(text, flush=True), **given)
    tool("ip", "link", "set", "lo", "up")
    found: Result = asyncio.run(getattr(import_module(module), name)(context))
    (folder / "result.json").write_text(json.dumps(asdict(replace(found))))
