"""Hosts whose packets are dropped, as those of a machine that is gone: nothing says that nothing will come.

Of an address with several hosts the driver tries one after another within one time-out, so that a silent one
uses up the time of the one that took its place. And over a connection that was made before, a statement would
wait until its own time-out; whether the other machine has received anything, the kernel knows much sooner.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

#: How long a host may be silent before the next is tried beside it.
PAUSE_SECONDS: Final = 0.5
#: How long the other machine may leave what is sent to it unconfirmed. One that is busy confirms it too.
LOST_SECONDS: Final = 3
#: An idle connection is tried after this many seconds, and then each second.
IDLE_SECONDS: Final = 2
#: After which the next host is tried, as the driver does; a wrong password is wrong everywhere.
_NEXT: Final = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)


async def connect(dsn: str, *, timeout: float | None = None, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 - the driver's name
    """As asyncpg's: of several hosts to the first that answers and has what `target_session_attrs` asks for.
    The connection is lost when the other machine is silent for LOST_SECONDS.
    """
    given: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    addresses = each_alone(dsn)
    if len(addresses) == 1:
        return _watched(await asyncpg.connect(dsn, **given, **options))
    async with asyncio.timeout(timeout):
        return _watched(await _first(addresses, given | options))


def _watched(connection: asyncpg.Connection) -> asyncpg.Connection:
    """The driver has no option for it, and no public way to the socket."""
    its_socket = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
    if its_socket.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        its_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        its_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
        its_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        its_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_SECONDS * 1_000)
    return connection


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
    """While one is silent, those that have refused are tried again: what takes its place refuses until it is
    promoted.
    """
    waiting, refused = list(addresses), list[str]()
    running: dict[asyncio.Task[asyncpg.Connection], str] = {}
    fault: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop(0)
                running[asyncio.create_task(asyncpg.connect(address, **options))] = address
            done, _ = await asyncio.wait(running, timeout=PAUSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                refused.append(running.pop(task))
                fault = task.exception()
                if fault is None:
                    return task.result()
                if not isinstance(fault, _NEXT):
                    raise fault
            if not (done or waiting):
                waiting, refused = refused, []
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
