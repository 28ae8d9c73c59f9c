"""CSV files of any form: each record is read or refused with its line, or the file is unusable."""

from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.cli.import_csv.csv_reader import Table, UnusableFile, parsed, why
from service.cli.import_csv.schemas import CustomerRow, LineRow, OrderRow, ProductRow
from tests.fuzz.profile import fuzzed, pieces

COLUMNS: Final = ("productID", "productName", "unitPrice")
FORMS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1")
PARTS: Final = (
    ",",
    ";",
    "\t",
    "|",
    '"',
    '""',
    "\n",
    "\r\n",
    "\r",
    " ",
    "sep=",
    *COLUMNS,
    "1",
    "Chai",
    "18.00",
    "\0",
    "#N/A",
)


def read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        table = Table.open(path, COLUMNS)
        records = list(table.records())
    except UnusableFile as unusable:
        said = str(unusable)
        records, table = [], None
    if table is None:
        assert said.startswith(f"{path}:")
        return
    assert len(records) == table.count
    lines = [record.line for record in records]
    assert lines == sorted(set(lines))
    for record in records:
        assert record.fault or set(COLUMNS) <= record.cells.keys()


@fuzzed
@given(text=pieces(*PARTS), form=st.sampled_from(FORMS), headed=st.booleans())
@example('sep="\n', "utf-8", False)
@example('sep=""\n', "utf-8", True)
@example("sep=\udcff\n".encode("utf-8", "surrogateescape").decode("latin-1"), "latin-1", True)
def test_a_file_of_any_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, form: str, headed: bool
) -> None:
    head = ",".join(COLUMNS) + "\n" if headed else ""
    read(tmp_path_factory.getbasetemp() / "fuzzed.csv", (head + text).encode(form, "replace"))


@fuzzed
@given(
    content=st.binary(max_size=200),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0"]),
)
def test_a_file_of_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes, mark: bytes) -> None:
    read(tmp_path_factory.getbasetemp() / "fuzzed.csv", mark + content)


CELLS: Final = pieces(
    "1",
    "18.00",
    "-",
    "1e9",
    ",",
    "NaN",
    "Infinity",
    "1996-07-04",
    "00:00:00.000",
    "9" * 30,
    "#",
    "0x1",
    "null",
)


@pytest.mark.parametrize(
    "model", [ProductRow, CustomerRow, OrderRow, LineRow], ids=lambda model: model.__name__
)
@fuzzed
@given(data=st.data())
def test_a_row_of_any_cells(model: Any, data: st.DataObject) -> None:
    """Read, or refused by the rule that it breaks: no other exception ends an import."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    try:
        row = parsed(model, data.draw(st.fixed_dictionaries(dict.fromkeys(names, CELLS))))
    except ValidationError as refusal:
        row = why(refusal)
    assert isinstance(row, model) or row
