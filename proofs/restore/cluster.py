"""A PostgreSQL with the roles of docs/operations.md: the service owns its database, and that is all."""

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from proofs.restore import documented, shell
from proofs.shop.postgresql import PostgreSQL
from service.dev import embedded

#: As hosted databases give it to their customers: no superuser.
ADMINISTRATOR: Final = "CREATE ROLE administrator LOGIN CREATEROLE CREATEDB PASSWORD '{}'"
BACKUP_PASSWORD: Final = "of-a-backup-1"


class Cluster(PostgreSQL):
    #: Where a dump was restored, which has a name of its own; `url` leads there then.
    restored_url: str | None = None

    @property
    def url(self) -> str:
        return self.restored_url or super().url

    def address(self, role: str, database: str = "postgres", password: str | None = None) -> str:
        """A URL for this role; all but that for backups have one password."""
        secret = quote(password or self.password, safe="")
        return f"postgresql://{role}:{secret}@127.0.0.1:{self.port}/{database}"

    @property
    def superuser_url(self) -> str:
        return self.address("postgres")

    @property
    def administrator_url(self) -> str:
        return self.address("administrator")

    @property
    def backup_url(self) -> str:
        return self.address("backup", password=BACKUP_PASSWORD)

    async def answers(self) -> bool:
        """Not over the service's database, which there may not be yet."""
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            await (await asyncpg.connect(self.superuser_url, timeout=5)).close()
            return True
        return False

    async def prepare(self) -> None:
        await self.prepare_empty()
        await self.make_database()

    async def make_database(self) -> None:
        """The service's role and database, by the administrator."""
        await shell.run(
            'psql "$ADMIN_URL" --set=ON_ERROR_STOP=1 <<< "$SQL"',
            self.folder,
            ADMIN_URL=self.administrator_url,
            SQL=documented.blocks()["create-database"].replace("'...'", f"'{self.password}'"),
        )

    async def prepare_empty(self) -> None:
        """Make it with a superuser and an administrator, and start it."""
        place = self._place
        place.password.write_text("of-the-service-1")
        options = [
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={place.password}",
            "--encoding=UTF8",
        ]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--lc-ctype=C.UTF-8"]
        await asyncio.to_thread(place.run, "initdb", "-D", str(self.data), *options)
        await self.start()
        connection = await asyncpg.connect(self.superuser_url)
        await connection.execute(ADMINISTRATOR.format(self.password))
        await connection.close()

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        connection = await self.connect()
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    async def value(self, query: str) -> int:
        return int((await self.fetch(query))[0][0])

    async def start(self, *, listen: str | None = None, promoted: bool = False) -> None:
        """`promoted`: return once a recovery has come to its end."""
        await super().start(listen=listen)
        while promoted and await self._recovering():
            await asyncio.sleep(0.05)

    async def _recovering(self) -> bool:
        if not self.running:
            raise RuntimeError(f"PostgreSQL ended while it recovered: {self.log[-2_000:]}")
        connection = await asyncpg.connect(self.superuser_url)
        try:
            return bool(await connection.fetchval("SELECT pg_is_in_recovery()"))
        finally:
            await connection.close()

    async def lose(self) -> None:
        """The machine is gone, and its disk with it."""
        await self.kill()
        await asyncio.to_thread(shutil.rmtree, self.data)

    def writable(self, name: str) -> Path:
        """A new folder of PostgreSQL's user."""
        folder = self.folder / name
        folder.mkdir()
        os.chown(folder, *embedded._account())
        return folder
