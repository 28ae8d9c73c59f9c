"""A name server that refuses, knows nothing or is silent, while connections have to be made anew.

The service finds its database, Redis and mail server by name, in a mount namespace with a resolv.conf of its
own; the name server listens on an address of the loopback that is the case's alone.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, cast

from proofs.cases import Context, Result
from proofs.faults.load import Disturbance, under_load
from proofs.shop.postgresql import PostgreSQL
from tests.helpers import smtp
from tests.helpers.redis import Redis

ADDRESS: Final = "127.77.7.7"
PORT: Final = 53
SECONDS: Final = 4.0
#: Longer than a resolver waits, twice, before it gives up.
SILENT_SECONDS: Final = 12.0
NEEDS: Final = ("root", "unshare", "redis-server", "redis-cli")
A: Final = 1

Mode = Literal["well", "refuses", "is silent", "knows no name", "fails"]
#: Of RFC 1035, section 4.1.1.
CODES: Final[dict[Mode, int]] = {"well": 0, "fails": 2, "knows no name": 3, "refuses": 5}
MODES: Final[tuple[Mode, ...]] = ("refuses", "knows no name", "fails", "is silent")
#: Ends every connection to the database, so that each is made anew.
CUT: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class NameServer(asyncio.DatagramProtocol):
    """Leads every name to 127.0.0.1."""

    def __init__(self) -> None:
        self.mode: Mode = "well"
        #: Questions that were asked while it was not well.
        self.misled = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own class is one in all but name.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.misled += self.mode != "well"
        if self.mode == "is silent":
            return
        end = data.index(b"\0", 12) + 5
        (kind,) = struct.unpack("!H", data[end - 4 : end - 2])
        code = CODES[self.mode]
        found = kind == A and not code
        head = data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, found, 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", A, 1, 0, 4) + bytes((127, 0, 0, 1)) if found else b""
        self._transport.sendto(head + data[12:end] + record, addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(NameServer, local_addr=(ADDRESS, PORT))
    try:
        yield protocol
    finally:
        transport.close()


def wrapper(folder: Path) -> tuple[str, ...]:
    """Before a command: in a mount namespace in which names are asked of the case's server, as pods ask."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {ADDRESS}\noptions ndots:5\n")
    mounted = f'mount --make-rprivate / && mount --bind {file} /etc/resolv.conf && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", mounted, "sh")


async def failing(context: Context) -> Result:
    inbox = smtp.Inbox()
    database = await PostgreSQL.create(context.folder / "postgresql")
    server = Redis(context.folder)
    await asyncio.to_thread(server.start)
    try:
        async with name_server() as names, smtp.serving(inbox) as port:

            async def harm(it: Disturbance) -> None:
                for mode in MODES:
                    async with it.outage(f"the name server {mode}, and connections are cut"):
                        names.mode = mode
                        await database.execute(CUT)
                        await asyncio.sleep(SILENT_SECONDS if mode == "is silent" else SECONDS)
                        names.mode = "well"

            result = await under_load(
                context,
                harm,
                # uvloop's line about a name that was answered when its connection had been given up.
                explained=frozenset({"Future exception was never retrieved"}),
                postgresql=database,
                wrapper=wrapper(context.folder),
                DATABASE_URL=database.url.replace("127.0.0.1", "database.shop.invalid"),
                REDIS_URL=f"redis://redis.shop.invalid:{server.port}/0",
                SMTP_URL=f"smtp://mail.shop.invalid:{port}",
                MAIL_FROM="The Shop <shop@shop.example>",
            )
    finally:
        server.kill()
    if not names.misled:
        result.faults.append("no name was asked for: the case shows nothing")
    if not inbox.mails:
        result.faults.append("no mail has arrived")
    return result
