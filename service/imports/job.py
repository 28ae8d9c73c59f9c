"""The job that loads the files of an import, in a worker."""

import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import structlog

from service.imports import repository
from service.imports.loading.csv_reader import Report, UnusableFile
from service.imports.loading.importer import FILES, Observer, load
from service.imports.schemas import KINDS
from service.platform.config import Settings
from service.platform.database import Database, Session
from service.platform.jobs.kinds import Attempt

log = structlog.get_logger(__name__)

#: Refused rows that are kept: who has more should first look at these.
MOST_REFUSALS: Final = 10_000
#: An import of the largest size takes minutes; whatever it is, it ends.
JOB_SECONDS: Final = 6 * 3600.0
ENDED_EARLY: Final = "The service could not finish this import: run it again. What has gone in stays."


class Recorder(Observer):
    """Writes the progress into the import, in the transactions of the rows themselves.

    `earlier`: what attempts whose workers were lost have added. To this one those rows are known.
    """

    def __init__(self, import_id: int, earlier: Mapping[str, int]) -> None:
        self._import_id, self._earlier = import_id, earlier
        self._files: dict[str, dict[str, int]] = {}

    def begun(self, file: str, total: int) -> None:
        self._files[file] = {"rows": total, "read": 0}

    def advanced(self, file: str) -> None:
        self._files[file]["read"] += 1

    async def loaded(self, session: Session, report: Report) -> None:
        counts = {kind: self._counts(report, kind) for kind in KINDS}
        progress = {"files": self._files, "counts": counts}
        await repository.note_progress(session, self._import_id, progress, refused=len(report.refused))

    def _counts(self, report: Report, kind: str) -> dict[str, int]:
        earlier = self._earlier.get(kind, 0)
        known = max(report.known.get(kind, 0) - earlier, 0)
        return {"added": report.added.get(kind, 0) + earlier, "known": known}


class Imports:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings

    async def run(self, attempt: Attempt) -> None:
        import_id = attempt.payload["import_id"]
        async with self._database.transaction() as session:
            before = await repository.begin(session, import_id)
        if before is None:
            return
        counts: Mapping[str, Any] = before.get("counts", {})
        recorder = Recorder(import_id, {kind: each["added"] for kind, each in counts.items()})
        try:
            report = await self._load(import_id, recorder)
        except UnusableFile as fault:
            await self._end(import_id, error=str(fault))
            return
        except Exception:
            if attempt.last:
                await self._end(import_id, error=ENDED_EARLY)
            raise
        async with self._database.transaction() as session:
            await recorder.loaded(session, report)
            await repository.end(session, import_id, refusals=report.refused[:MOST_REFUSALS])
        log.info("import.ended", import_id=import_id, refused=len(report.refused))

    async def _load(self, import_id: int, recorder: Recorder) -> Report:
        with tempfile.TemporaryFile() as file:
            number = 0
            async with self._database.reading() as session:
                while (content := await repository.get_part(session, import_id, number)) is not None:
                    file.write(content)
                    number += 1
            try:
                with zipfile.ZipFile(file) as archive:
                    folder = _folder(archive, self._settings.import_max_bytes)
                    return await load(self._database, self._settings, folder, observer=recorder)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as fault:
                # RuntimeError: it is encrypted.
                log.info("import.file_refused", import_id=import_id, fault=type(fault).__name__)
                raise UnusableFile("The file is no zip that can be read: send a plain one.") from fault

    async def _end(self, import_id: int, *, error: str) -> None:
        async with self._database.transaction() as session:
            await repository.end(session, import_id, error=error)
        log.info("import.failed", import_id=import_id)


def _folder(archive: zipfile.ZipFile, most: int) -> zipfile.Path:
    """Where the four files are: at the top, or in the one folder that has them."""
    entries = [each for each in archive.infolist() if each.filename.rpartition("/")[2] in FILES]
    if sum(each.file_size for each in entries) > most:
        raise UnusableFile(f"The files are larger than {most} bytes together: send them in parts.")
    folders = sorted({each.filename.rpartition("/")[0] for each in entries})
    if len(folders) > 1:
        raise UnusableFile(f"The files are in several folders of the zip: {', '.join(folders)[:200]}.")
    names = {each.filename.rpartition("/")[2] for each in entries}
    missing = [name for name in FILES if name not in names]
    if missing:
        raise UnusableFile(f"{missing[0]}: is missing in the zip.")
    # What a message about a file begins with.
    archive.filename = ""
    return zipfile.Path(archive, f"{folders[0]}/" if folders and folders[0] else "")
