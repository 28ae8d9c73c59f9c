"""An address with several hosts: one that does not answer must not keep the others from being tried.

The driver tries them one after another within one time-out, so that a host whose packets are dropped, as
those of a machine that is gone, uses up the time of the host that took its place.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

#: How long a host may be silent before the next is tried beside it.
PAUSE_SECONDS: Final = 0.5
#: After which the next host is tried, as the driver does; a wrong password is wrong everywhere.
_NEXT: Final = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)


async def connect(dsn: str, *, timeout: float | None = None, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 - the driver's name
    """As asyncpg's; of several hosts the first that answers and has what `target_session_attrs` asks for."""
    given: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    addresses = each_alone(dsn)
    if len(addresses) == 1:
        return await asyncpg.connect(dsn, **given, **options)
    async with asyncio.timeout(timeout):
        return await _first(addresses, given | options)


def each_alone(dsn: str) -> list[str]:
    """An address for each host, in their order."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    user, at, hosts = parts.netloc.rpartition("@")
    if query.get("target_session_attrs") == "prefer-standby":
        # Which one is taken depends on all of them.
        return [dsn]
    if hosts:
        return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]
    names, ports = query.get("host", "").split(","), query.get("port", "").split(",")
    if len(names) == 1 or ("port" in query and len(ports) != len(names)):
        return [dsn]
    queries = [query | {"host": name} for name in names]
    if "port" in query:
        queries = [one | {"port": port} for one, port in zip(queries, ports, strict=True)]
    return [f"{dsn.partition('?')[0]}?{urlencode(one)}" for one in queries]


async def _first(addresses: Sequence[str], options: dict[str, Any]) -> asyncpg.Connection:
    waiting, running = list(addresses), list[asyncio.Task[asyncpg.Connection]]()
    fault: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                running.append(asyncio.create_task(asyncpg.connect(waiting.pop(0), **options)))
            pause = PAUSE_SECONDS if waiting else None
            await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task.done()]:
                running.remove(task)
                fault = task.exception()
                if fault is None:
                    return task.result()
                if not isinstance(fault, _NEXT):
                    raise fault
    finally:
        for task in running:
            task.add_done_callback(_terminate)
            task.cancel()
    assert fault is not None  # noqa: S101 - there was an address at least
    raise fault


def _terminate(task: "asyncio.Task[asyncpg.Connection]") -> None:
    """It may have been made at the moment in which it was not needed any more."""
    with suppress(asyncio.CancelledError, Exception):
        task.result().terminate()
