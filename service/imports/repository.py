"""Every statement on imports."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    LargeBinary,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

from service.imports.loading.csv_reader import Refusal
from service.imports.models import Import, ImportPart, ImportRefusal
from service.platform.database import Record, Session, csv_rows, none_of
from service.platform.database.documents import document
from service.platform.database.pagination import Page

#: An upload that has not been completed by then never will be.
UPLOAD_LASTS: Final = timedelta(hours=2)
_IS: Final = Import.id == bindparam("import_id", type_=BigInteger)
_COLUMNS: Final = Import.__table__.columns
_BY_ID: Final = select(*_COLUMNS).where(_IS, Import.status != "uploading")
_ADD: Final = insert(Import).values(id=literal_column("DEFAULT")).returning(Import.id)
_ADD_PART: Final = insert(ImportPart).values(
    import_id=bindparam("import_id", type_=BigInteger),
    number=bindparam("number", type_=Integer),
    content=bindparam("content", type_=LargeBinary),
)
_PART: Final = select(ImportPart.content).where(
    ImportPart.import_id == bindparam("import_id", type_=BigInteger),
    ImportPart.number == bindparam("number", type_=Integer),
)
_REMOVE: Final = delete(Import).where(_IS, Import.status == "uploading")
_NOTHING: Final = {
    "progress": literal_column("'{}'::jsonb"),
    "refused": 0,
    "error": None,
    "started_at": None,
    "ended_at": None,
}
_COMPLETE: Final = (
    update(Import)
    .where(_IS, Import.status == "uploading")
    .values(status="waiting", size=bindparam("size", type_=BigInteger), created_by=bindparam("created_by"))
    .returning(*_COLUMNS)
)
_AGAIN: Final = (
    update(Import)
    .where(_IS, Import.status.in_((literal_column("'done'"), literal_column("'failed'"))))
    .values(status="waiting", **_NOTHING)
    .returning(*_COLUMNS)
)
_BEGIN: Final = (
    update(Import)
    .where(_IS, Import.status.in_((literal_column("'waiting'"), literal_column("'running'"))))
    .values(status="running", started_at=func.coalesce(Import.started_at, func.now()))
    .returning(Import.progress)
)
_PROGRESS: Final = (
    update(Import)
    .where(_IS)
    .values(progress=bindparam("progress", type_=JSONB), refused=bindparam("refused", type_=Integer))
)
_END: Final = (
    update(Import)
    .where(_IS)
    .values(status=bindparam("status", type_=Text), error=bindparam("error", type_=Text), ended_at=func.now())
)
_FORGET_REFUSALS: Final = delete(ImportRefusal).where(
    ImportRefusal.import_id == bindparam("import_id", type_=BigInteger)
)
_refusal: Final = (
    func.unnest(
        bindparam("numbers", type_=ARRAY(Integer)),
        bindparam("files", type_=ARRAY(Text)),
        bindparam("lines", type_=ARRAY(Integer)),
        bindparam("keys", type_=ARRAY(Text)),
        bindparam("reasons", type_=ARRAY(Text)),
    )
    .table_valued("number", "file", "line", "key", "reason", name="given")
    .render_derived()
)
_ADD_REFUSALS: Final = insert(ImportRefusal).from_select(
    ["import_id", "number", "file", "line", "key", "reason"],
    select(bindparam("import_id", type_=BigInteger), *_refusal.c),
)
CELLS: Final = {name: ImportRefusal.__table__.c[name] for name in ("file", "line", "key", "reason")}
_REFUSALS: Final = select(
    document(
        func.coalesce(
            func.string_agg(
                # There are no times in it.
                csv_rows.row_of(CELLS, zone=literal_column("'UTC'")),
                aggregate_order_by(literal_column("''"), ImportRefusal.number),
            ),
            literal_column("''"),
        )
    )
).where(ImportRefusal.import_id == bindparam("import_id", type_=BigInteger))


async def add(session: Session) -> int:
    """An import whose files are about to come; its id."""
    import_id: int = await session.value(_ADD)
    return import_id


async def add_part(session: Session, import_id: int, number: int, content: bytes) -> None:
    await session.execute(_ADD_PART, {"import_id": import_id, "number": number, "content": content})


async def get_part(session: Session, import_id: int, number: int) -> bytes | None:
    content: bytes | None = await session.value(_PART, {"import_id": import_id, "number": number})
    return content


async def remove_upload(session: Session, import_id: int) -> None:
    await session.execute(_REMOVE, {"import_id": import_id})


async def complete(session: Session, import_id: int, *, size: int, created_by: int | None) -> Record | None:
    """The import, now waiting; None if it is not being uploaded."""
    return await session.one(_COMPLETE, {"import_id": import_id, "size": size, "created_by": created_by})


async def run_again(session: Session, import_id: int) -> Record | None:
    """The import, waiting again; None unless it has ended."""
    return await session.one(_AGAIN, {"import_id": import_id})


async def begin(session: Session, import_id: int) -> Mapping[str, Any] | None:
    """What earlier attempts have done; None unless it waits or runs."""
    row = await session.one(_BEGIN, {"import_id": import_id})
    return None if row is None else row.progress


async def note_progress(
    session: Session, import_id: int, progress: Mapping[str, Any], *, refused: int
) -> None:
    await session.execute(_PROGRESS, {"import_id": import_id, "progress": progress, "refused": refused})


async def end(
    session: Session, import_id: int, *, refusals: Sequence[Refusal] = (), error: str | None = None
) -> None:
    """Done, or failed with this error. The refusals take the place of those of earlier runs."""
    await session.execute(_FORGET_REFUSALS, {"import_id": import_id})
    values = {
        "import_id": import_id,
        "numbers": list(range(1, len(refusals) + 1)),
        "files": [each.file for each in refusals],
        "lines": [each.line for each in refusals],
        "keys": [each.key for each in refusals],
        "reasons": [each.why for each in refusals],
    }
    await session.execute(_ADD_REFUSALS, values)
    status = "done" if error is None else "failed"
    await session.execute(_END, {"import_id": import_id, "status": status, "error": error})


async def get(session: Session, import_id: int) -> Record | None:
    return await session.one(_BY_ID, {"import_id": import_id})


async def get_refusals(session: Session, import_id: int) -> bytes:
    """As rows of CSV, without a header."""
    rows: bytes = await session.value(_REFUSALS, {"import_id": import_id})
    return rows


async def find(session: Session, page: Page) -> list[Any]:
    """The newest first."""
    statement = select(*_COLUMNS).where(Import.status != "uploading").order_by(Import.id.desc())
    if page.after is not None:
        statement = statement.where(Import.id < page.after[0])
    return page.cut(await session.rows(statement.limit(page.fetch).offset(page.skip)), "id")


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many that ended longer ago than that, and uploads that were never completed; how many
    they were. Their files and refusals go with them.
    """
    age = func.now() - func.coalesce(Import.ended_at, Import.created_at)
    lasts = case((Import.status == "uploading", literal_column("interval '2 hours'")), else_=kept)
    over = select(Import.id).where(none_of(Import.status, ("waiting", "running")), age > lasts).limit(most)
    return await session.execute(delete(Import).where(Import.id.in_(over)))
