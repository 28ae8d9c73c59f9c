"""Imports over HTTP: the upload, the job, and what is shown of both."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.container.api import Container
from service.imports import job as import_job
from service.imports import purge_imports
from service.imports.job import Imports
from service.imports.loading import importer
from service.imports.loading.rows import CUSTOMERS, LINES, ORDERS, PRODUCTS
from service.platform.jobs.kinds import Attempt
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.waiting import eventually
from tests.imports.importing import replace

NAMES = (PRODUCTS, CUSTOMERS, ORDERS, LINES)
ZIP = {"Content-Type": "application/zip"}


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


def zipped(folder: Path, *, inside: str = "", names: tuple[str, ...] = NAMES) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, inside + name)
    return buffer.getvalue()


async def created(person: Person, content: bytes) -> dict[str, Any]:
    answer = await person.api.post("/imports", content=content, headers=ZIP)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api/v1/imports/{made['id']}"
    return made


async def run(container: Container, made: dict[str, Any], *, number: int = 1, most: int = 5) -> None:
    """As a worker does."""
    payload = {"import_id": made["id"]}
    await Imports(container.database, container.settings).run(Attempt(payload, number, most))


async def shown(person: Person, made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await person.api.get(f"/imports/{made['id']}")).json()
    return found


def counts(products: tuple[int, int], customers: tuple[int, int], orders: tuple[int, int]) -> list[Any]:
    given = {"products": products, "customers": customers, "orders": orders}
    return [{"kind": kind, "added": each[0], "known": each[1]} for kind, each in given.items()]


class TestCreating:
    async def test_the_files_are_kept_and_a_job_waits(
        self, ada: Person, folder: Path, sql: asyncpg.Connection
    ) -> None:
        content = zipped(folder)
        made = await created(ada, content)
        assert made == {
            "id": made["id"],
            "status": "waiting",
            "size": len(content),
            "files": [{"name": name, "rows": 0, "read": 0} for name in NAMES],
            "counts": counts((0, 0), (0, 0), (0, 0)),
            "refused": 0,
            "error": None,
            "created_by": ada.id,
            "created_at": made["created_at"],
            "started_at": None,
            "ended_at": None,
        }
        parts = await sql.fetch("SELECT content FROM import_parts ORDER BY number")
        assert b"".join(part["content"] for part in parts) == content
        assert await sql.fetchval("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'import'") == 1
        audited = await sql.fetchrow("SELECT * FROM audit_log WHERE target_kind = 'import'")
        assert audited is not None
        assert (audited["action"], audited["target_id"]) == ("import.created", made["id"])

    async def test_it_comes_in_pieces_and_is_kept_in_parts(
        self, ada: Person, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.imports.service.PART_BYTES", 1000)

        async def pieces() -> AsyncIterator[bytes]:
            for number in range(7):
                yield bytes([number]) * 700

        answer = await ada.api.post("/imports", content=pieces(), headers=ZIP)
        assert answer.json()["size"] == 4900
        parts = await sql.fetch("SELECT content FROM import_parts ORDER BY number")
        assert [len(part["content"]) for part in parts] == [1000, 1000, 1000, 1000, 900]

    async def test_under_one_key_it_is_one_import(
        self, ada: Person, folder: Path, sql: asyncpg.Connection
    ) -> None:
        headers = ZIP | {"Idempotency-Key": "nightly-1"}
        answers = [await ada.api.post("/imports", content=zipped(folder), headers=headers) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        assert answers[1].headers["idempotent-replayed"] == "true"
        other = await ada.api.post("/imports", content=b"other", headers=headers)
        assert_problem(other, 422, "idempotency_key_reused")
        assert len((await ada.api.get("/imports")).json()) == 1
        assert await sql.fetchval("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'import'") == 1

    async def test_one_that_is_too_large_leaves_nothing(
        self, ada: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        most = container.settings.import_max_bytes
        answer = await ada.api.post("/imports", content=b"x" * (most + 1), headers=ZIP)
        assert_problem(answer, 413, "body_too_large")
        assert await sql.fetchval("SELECT count(*) FROM imports") == 0
        assert await sql.fetchval("SELECT count(*) FROM import_parts") == 0

    async def test_access_that_ends_while_it_comes_leaves_nothing(
        self, ada: Person, sql: asyncpg.Connection
    ) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"PK"
            await sql.execute("UPDATE sessions SET ended_at = now() WHERE user_id = $1", ada.id)
            yield b"PK"

        answer = await ada.api.post("/imports", content=pieces(), headers=ZIP)
        assert_problem(answer, 401, "invalid_token")
        assert await sql.fetchval("SELECT count(*) FROM imports") == 0
        assert await sql.fetchval("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'import'") == 0

    async def test_another_media_type_leaves_nothing(self, ada: Person, sql: asyncpg.Connection) -> None:
        answer = await ada.api.post("/imports", content=b"x", headers={"Content-Type": "text/csv"})
        assert_problem(answer, 415, "unsupported_media_type")
        assert await sql.fetchval("SELECT count(*) FROM imports") == 0


class TestRunning:
    async def test_it_does_what_the_command_does(
        self, ada: Person, folder: Path, container: Container, sql: asyncpg.Connection
    ) -> None:
        replace(folder / PRODUCTS, "Singaporean Hokkien Fried Mee", "=1+1,")
        made = await created(ada, zipped(folder))
        await run(container, made)
        found = await shown(ada, made)
        assert (found["status"], found["error"], found["refused"]) == ("done", None, 3)
        assert found["counts"] == counts((2, 0), (2, 0), (0, 0))
        assert [(each["name"], each["rows"], each["read"]) for each in found["files"]] == [
            (PRODUCTS, 3, 3), (CUSTOMERS, 2, 2), (ORDERS, 2, 2), (LINES, 4, 4),
        ]  # fmt: skip
        assert found["started_at"] is not None
        assert found["ended_at"] is not None
        answer = await ada.api.get(f"/imports/{made['id']}/refusals.csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.text.splitlines()[0] == "file,line,key,reason"
        assert [line.split(",")[:3] for line in answer.text.splitlines()[1:]] == [
            ['"orders.csv"', "2", '"10248"'],
            ['"orders.csv"', "3", '"10249"'],
            ['"products.csv"', "3", '"42"'],
        ]
        assert await sql.fetchval("SELECT count(*) FROM events") == 0

    async def test_repeated_it_leaves_alone_what_is_there(
        self, ada: Person, folder: Path, container: Container
    ) -> None:
        made = await created(ada, zipped(folder, inside="northwind/"))
        assert_problem(await ada.api.post(f"/imports/{made['id']}/repeat"), 409, "import_not_ended")
        await run(container, made)
        assert (await shown(ada, made))["counts"] == counts((3, 0), (2, 0), (2, 0))
        again = await ada.api.post(f"/imports/{made['id']}/repeat")
        assert (again.status_code, again.json()["status"]) == (200, "waiting")
        await run(container, made)
        assert (await shown(ada, made))["counts"] == counts((0, 3), (0, 2), (0, 2))

    async def test_an_attempt_after_a_lost_worker_counts_what_that_one_has_added(
        self, ada: Person, folder: Path, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importer, "CHUNK", 1)
        made = await created(ada, zipped(folder))
        with monkeypatch.context() as lost:
            lost.setattr(importer, "_orders", lambda *_: asyncio.sleep(3600))
            running = asyncio.create_task(run(container, made))

            async def is_at_the_orders() -> bool:
                found = await shown(ada, made)
                return bool(found["counts"] == counts((3, 0), (2, 0), (0, 0)))

            await eventually(is_at_the_orders)
            assert (await shown(ada, made))["status"] == "running"
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await run(container, made, number=2)
        found = await shown(ada, made)
        assert (found["status"], found["counts"]) == ("done", counts((3, 0), (2, 0), (2, 0)))

    async def test_after_the_last_attempt_it_has_failed(
        self, ada: Person, folder: Path, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: object) -> None:
            raise OSError

        monkeypatch.setattr(importer, "_orders", broken)
        made = await created(ada, zipped(folder))
        with pytest.raises(OSError):  # noqa: PT011 - it has no text
            await run(container, made)
        assert (await shown(ada, made))["status"] == "running"
        with pytest.raises(OSError):  # noqa: PT011
            await run(container, made, number=5)
        found = await shown(ada, made)
        assert (found["status"], found["error"]) == ("failed", import_job.ENDED_EARLY)

    async def test_a_job_of_an_import_that_is_gone_does_nothing(self, container: Container) -> None:
        await run(container, {"id": 1})


class TestUnusableFiles:
    async def failed(self, ada: Person, container: Container, content: bytes) -> str:
        made = await created(ada, content)
        await run(container, made)
        found = await shown(ada, made)
        assert (found["status"], found["counts"]) == ("failed", counts((0, 0), (0, 0), (0, 0)))
        error: str = found["error"]
        return error

    async def test_no_zip(self, ada: Person, container: Container) -> None:
        error = await self.failed(ada, container, b"product_id,product_name\n")
        assert error == "The file is no zip that can be read: send a plain one."

    async def test_a_zip_that_is_damaged(self, ada: Person, container: Container, folder: Path) -> None:
        content = bytearray(zipped(folder))
        content[200:260] = bytes(60)
        error = await self.failed(ada, container, bytes(content))
        assert error == "The file is no zip that can be read: send a plain one."

    async def test_a_file_is_missing(self, ada: Person, container: Container, folder: Path) -> None:
        error = await self.failed(ada, container, zipped(folder, names=NAMES[:3]))
        assert error == "order_lines.csv: is missing in the zip."

    async def test_a_column_is_missing(self, ada: Person, container: Container, folder: Path) -> None:
        replace(folder / CUSTOMERS, "company_name", "company")
        error = await self.failed(ada, container, zipped(folder))
        assert error == (
            "customers.csv: the header row lacks company_name. Its columns are separated by commas."
        )

    async def test_files_that_are_larger_than_they_look(
        self, ada: Person, container: Container, folder: Path
    ) -> None:
        most = container.settings.import_max_bytes
        with (folder / LINES).open("ab") as file:
            file.write(b"\n" * most)
        error = await self.failed(ada, container, zipped(folder))
        assert error == f"The files are larger than {most} bytes together: send them in parts."

    async def test_two_folders(self, ada: Person, container: Container, folder: Path) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.write(folder / PRODUCTS, f"a/{PRODUCTS}")
            archive.write(folder / ORDERS, f"b/{ORDERS}")
        error = await self.failed(ada, container, buffer.getvalue())
        assert error == "The files are in several folders of the zip: a, b."


class TestPurging:
    async def test_what_has_ended_goes_and_what_runs_stays(
        self, ada: Person, folder: Path, container: Container, sql: asyncpg.Connection
    ) -> None:
        made = [await created(ada, zipped(folder)) for _ in range(3)]
        await run(container, made[0])
        await run(container, made[1])
        await sql.execute("UPDATE imports SET created_at = now() - interval '40 days'")
        await sql.execute(
            "UPDATE imports SET ended_at = now() - interval '40 days' WHERE id = $1", made[0]["id"]
        )
        await sql.execute("INSERT INTO imports (created_at) VALUES (now() - interval '3 hours'), (now())")
        async with container.database.transaction() as session:
            gone = await purge_imports(session, container.settings.retention_imports, most=10)
        assert gone == 2
        assert [each["id"] for each in (await ada.api.get("/imports")).json()] == [
            made[2]["id"], made[1]["id"],
        ]  # fmt: skip
        assert (
            await sql.fetchval("SELECT count(*) FROM import_parts WHERE import_id = $1", made[0]["id"]) == 0
        )
        assert_problem(await ada.api.get(f"/imports/{made[0]['id']}"), 404, "not_found")
