"""A back office that keeps a copy of a shop's items and orders, and edits its catalogue.

    export SHOP=http://127.0.0.1:8000/api/v1 KEY=tp_...
    python examples/back_office.py copy.db follow
    python examples/back_office.py copy.db upload items.json

The key needs the scopes `catalogue:write` and `orders:read`. The copy is a file of SQLite, which has each
list with the position up to which it was read: written together, so that the program may end at any moment
and go on from there. Nothing but the standard library is used.
"""

import json
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

#: What is copied: the list's path below the API.
LISTS = ("items", "orders")
PAGE, ROWS = 100, 1_000
#: The service is busy, or restarts: the same request is good after `Retry-After` seconds.
AGAIN = (429, 503)
TRIES = 8

Row = dict[str, Any]


class Refused(Exception):
    """A refusal; `problem` says why (RFC 9457)."""

    def __init__(self, status: int, problem: Row) -> None:
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status, self.problem = status, problem


@dataclass(frozen=True)
class Shop:
    """The API, called with a key."""

    url: str
    key: str

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, Mapping[str, str]]:
        """The document and the headers of a success. Raises Refused."""
        content = None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **(headers or {})}
        for attempt in range(1, TRIES + 1):
            try:
                with urlopen(Request(self.url + path, content, sent, method=method), timeout=60) as answer:
                    return json.load(answer), answer.headers
            except HTTPError as error:
                with error:
                    problem = json.load(error)
                if error.code not in AGAIN or attempt == TRIES:
                    raise Refused(error.code, problem) from None
                time.sleep(int(error.headers.get("Retry-After", "1")))
            except OSError:
                # The answer is lost. Whatever is sent here may be sent twice: it has a key or a version.
                if attempt == TRIES:
                    raise
                time.sleep(attempt)
        raise AssertionError("the last attempt returns or raises")


class Copy:
    """Items and orders as they were when they were read last."""

    def __init__(self, path: str | Path) -> None:
        self._file = sqlite3.connect(path)
        self._file.execute("CREATE TABLE IF NOT EXISTS positions (list TEXT PRIMARY KEY, position TEXT)")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS rows (list TEXT, id INTEGER, row TEXT, PRIMARY KEY (list, id))"
        )

    def close(self) -> None:
        self._file.close()

    def position(self, name: str) -> str:
        """Where to go on reading the list."""
        found = self._file.execute("SELECT position FROM positions WHERE list = ?", [name]).fetchone()
        return found[0] if found else "start"

    def store(self, name: str, changes: Iterable[Row], position: str) -> None:
        """Take in changes together with their position: both are there after a crash, or neither."""
        with self._file:
            for row in changes:
                if "removed_at" in row:
                    self._file.execute("DELETE FROM rows WHERE list = ? AND id = ?", [name, row["id"]])
                else:
                    values = [name, row["id"], json.dumps(row)]
                    self._file.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", values)
            self._file.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", [name, position])

    def forget(self, name: str) -> None:
        """For a position that the shop does not know any more: begin anew."""
        with self._file:
            self._file.execute("DELETE FROM rows WHERE list = ?", [name])
            self._file.execute("DELETE FROM positions WHERE list = ?", [name])

    def rows(self, name: str) -> dict[int, Row]:
        found = self._file.execute("SELECT id, row FROM rows WHERE list = ? ORDER BY id", [name])
        return {row_id: json.loads(row) for row_id, row in found}


def follow(shop: Shop, copy: Copy, name: str) -> int:
    """Take in what has changed since the last time; how many rows came."""
    taken = 0
    while True:
        path = f"/{name}?changes_after={copy.position(name)}&limit={PAGE}"
        try:
            rows, headers = shop.call("GET", path)
        except Refused as refused:
            if refused.status != 410:
                raise
            copy.forget(name)
            continue
        copy.store(name, rows, headers["Change-Position"])
        taken += len(rows)
        if "Link" not in headers:
            return taken


def edit(shop: Shop, item_id: int, change: Callable[[Row], Row]) -> Row:
    """Change an item by what it is at that moment. When somebody else was faster, it is read again."""
    while True:
        item, headers = shop.call("GET", f"/items/{item_id}")
        try:
            changed, _ = shop.call("PATCH", f"/items/{item_id}", change(item), {"If-Match": headers["ETag"]})
        except Refused as refused:
            if refused.status != 412:
                raise
        else:
            done: Row = changed
            return done


def upload(shop: Shop, items: Sequence[Row]) -> Counter[str]:
    """Have the catalogue be as this list says, and count what that has changed.

    The key of a part makes it safe to send again after a lost answer.
    """
    outcomes: Counter[str] = Counter()
    for first in range(0, len(items), ROWS):
        part, key = items[first : first + ROWS], {"Idempotency-Key": str(uuid4())}
        results, _ = shop.call("PUT", "/items/batch", part, key)
        outcomes.update(result["result"] for result in results)
    return outcomes


def main() -> None:
    path, command, *rest = sys.argv[1:]
    shop = Shop(os.environ["SHOP"], os.environ["KEY"])
    if command == "upload":
        print(dict(upload(shop, json.loads(Path(rest[0]).read_text()))))
        return
    with closing(Copy(path)) as copy:
        while True:
            for name in LISTS:
                print(
                    f"{name}: {follow(shop, copy, name)} changed, {len(copy.rows(name))} in all", flush=True
                )
            time.sleep(5)


if __name__ == "__main__":
    main()
