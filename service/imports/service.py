"""Imports over HTTP: receiving the files, and having a worker load them."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from service import audit
from service.errors import Conflict, NotFound
from service.identity import Caller, reauthorize
from service.imports import repository
from service.imports.schemas import Import
from service.platform.database import Database, Session
from service.platform.jobs import queue

#: The kind of its job.
KIND: Final = "import"
#: Of the upload, in one row.
PART_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    import_id: int
    size: int
    digest: bytes


class ImportNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("There is no such import, or it has been purged.")


class ImportNotEnded(Conflict):
    code, title = "import_not_ended", "The import has not ended"

    def __init__(self) -> None:
        super().__init__("The import waits or is running. Run it again when it has ended.")


async def receive(database: Database, pieces: AsyncIterator[bytes]) -> Upload:
    """Keep the pieces as they come, each part in a transaction of its own: a client may take its time."""
    async with database.transaction() as session:
        import_id = await repository.add(session)
    size, digest, number, held = 0, hashlib.sha256(), 0, bytearray()
    try:
        async for piece in pieces:
            size += len(piece)
            digest.update(piece)
            held += piece
            while len(held) >= PART_BYTES:
                await _keep(database, import_id, number, bytes(held[:PART_BYTES]))
                del held[:PART_BYTES]
                number += 1
        await _keep(database, import_id, number, bytes(held))
    except BaseException:
        # If that fails too, it is purged.
        await _remove(database, import_id)
        raise
    return Upload(import_id, size, digest.digest())


async def discard(database: Database, upload: Upload) -> None:
    """Unless an import has been made of it."""
    await _remove(database, upload.import_id)


async def _remove(database: Database, import_id: int) -> None:
    async with database.transaction() as session:
        await repository.remove_upload(session, import_id)


async def _keep(database: Database, import_id: int, number: int, content: bytes) -> None:
    async with database.transaction() as session:
        await repository.add_part(session, import_id, number, content)


async def create(session: Session, caller: Caller, upload: Upload) -> Import:
    await reauthorize(session, caller)
    row = await repository.complete(session, upload.import_id, size=upload.size, created_by=caller.user_id)
    if row is None:
        raise ImportNotFound
    await queue.enqueue(session, KIND, {"import_id": row.id})
    data = {"size": upload.size}
    await audit.record(
        session, "import.created", by=caller, target_kind="import", target_id=row.id, data=data
    )
    return Import.of(row)


async def run_again(session: Session, caller: Caller, import_id: int) -> Import:
    """What has gone in before is left alone, and what was refused has another try."""
    await reauthorize(session, caller)
    row = await repository.run_again(session, import_id)
    if row is None:
        await get(session, import_id)
        raise ImportNotEnded
    await queue.enqueue(session, KIND, {"import_id": row.id})
    await audit.record(session, "import.repeated", by=caller, target_kind="import", target_id=row.id)
    return Import.of(row)


async def get(session: Session, import_id: int) -> Import:
    row = await repository.get(session, import_id)
    if row is None:
        raise ImportNotFound
    return Import.of(row)


async def get_refusals(session: Session, import_id: int) -> bytes:
    await get(session, import_id)
    return await repository.get_refusals(session, import_id)
