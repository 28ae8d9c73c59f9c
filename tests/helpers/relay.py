"""Passes bytes between networks: `python -m tests.helpers.relay [--up] LISTEN=TARGET...`, until it is killed.

A pod has a network of its own in which nothing else is. What leads in and out are sockets in the file
system, which all networks see: an end is `tcp:HOST:PORT` or `unix:PATH`. `--up` brings the loopback up first.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Awaitable, Callable

BLOCK = 65_536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(end: str) -> Streams:
    kind, _, address = end.partition(":")
    if kind == "unix":
        return await asyncio.open_unix_connection(address)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """One way, and its end too; what the other way says may still come. Whether the connection held."""
    try:
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
    except OSError:
        # One that breaks breaks the other, which is not to take it for an end.
        writer.transport.abort()
        return False
    with contextlib.suppress(OSError):
        writer.write_eof()
    return True


async def both_ways(near: Streams, far: Streams) -> bool:
    """Whether the far end was well to the last."""
    try:
        _, held = await asyncio.gather(pump(near[0], far[1]), pump(far[0], near[1]))
    finally:
        near[1].close()
        far[1].close()
    return held


def accepting(target: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await connect(target)
        except OSError:
            writer.transport.abort()
            return
        await both_ways((reader, writer), far)

    return accept


async def main(pairs: list[str]) -> None:
    servers = []
    for pair in pairs:
        end, _, target = pair.partition("=")
        kind, _, address = end.partition(":")
        if kind == "unix":
            servers.append(await asyncio.start_unix_server(accepting(target), address))
        else:
            host, _, port = address.rpartition(":")
            servers.append(await asyncio.start_server(accepting(target), host, int(port)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "--up":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        arguments.pop(0)
    asyncio.run(main(arguments))
