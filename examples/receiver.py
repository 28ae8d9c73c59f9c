"""A receiver of a shop's events, which may be away for a week and misses nothing.

    export SHOP=http://127.0.0.1:8000/api/v1 KEY=tp_... WEBHOOK_SECRET=whsec_...
    python examples/receiver.py orders.db 8080

Events come by webhook, at once. What did not come so is read from the event feed: when the program starts,
and every minute. Both have the same events under the same ids, and each is applied once, together with a
note of its id and of the position up to which the feed was read. So the program may end at any moment, for
as long as the shop keeps events (30 days), and goes on from there.

The key needs the scopes `events:read` and `orders:read`. Nothing but the standard library is used.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

#: What is followed; the webhook has them in its `events`.
TYPES = "order.*"
#: A message older or newer than this may be one that somebody has recorded and sends again.
TOLERANCE_SECONDS = 300
#: Messages are smaller.
MOST_BYTES = 20_000
#: Ids are kept for longer than an event can come again: the shop keeps events for 30 days.
KEPT_SECONDS = 35 * 24 * 3600
AGAIN = (429, 503)
TRIES = 8

Row = dict[str, Any]


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raises ValueError unless the message is genuine and fresh. The headers' names are in small letters."""
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        raise ValueError("too old, or from the future")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    # Two signatures while the secret is changed: one valid signature is enough.
    given = headers["webhook-signature"].encode().split(b" ")
    if not any(hmac.compare_digest(expected, each) for each in given):
        raise ValueError("the signature does not fit")


@dataclass(frozen=True)
class Feed:
    """The shop's API, called with a key."""

    url: str
    key: str

    def get(self, path: str) -> tuple[Any, Mapping[str, str]]:
        """The document and the headers. Raises HTTPError."""
        request = Request(self.url + path, headers={"Authorization": f"Bearer {self.key}"})
        for attempt in range(1, TRIES + 1):
            try:
                with urlopen(request, timeout=60) as answer:
                    return json.load(answer), answer.headers
            except HTTPError as error:
                if error.code not in AGAIN or attempt == TRIES:
                    raise
                time.sleep(int(error.headers.get("Retry-After", "1")))
            except OSError:
                if attempt == TRIES:
                    raise
                time.sleep(attempt)
        raise AssertionError("the last attempt returns or raises")


class Store:
    """Orders as the events show them, the ids of the events, and the position in the feed.

    Metadata is in lists and in no event: who needs it keeps a copy by the list's changes (back_office.py).
    """

    def __init__(self, path: str | Path) -> None:
        self._file = sqlite3.connect(path, check_same_thread=False)
        self._lock = threading.Lock()
        with self._file:
            self._file.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, document TEXT)")
            self._file.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, at REAL)")
            self._file.execute("CREATE TABLE IF NOT EXISTS feed (position TEXT)")

    def close(self) -> None:
        self._file.close()

    def position(self) -> str | None:
        """Where to go on reading the feed; None at the very beginning."""
        with self._lock:
            found = self._file.execute("SELECT position FROM feed").fetchone()
        return found[0] if found else None

    def apply(self, events: Sequence[tuple[str, Row]], position: str | None = None) -> int:
        """Those of these events that are new, by their ids; with them the position, where the feed had them.
        All of that is there after a crash, or nothing. How many were new.
        """
        with self._lock, self._file:
            new = [event for event_id, event in events if self._note(event_id)]
            for event in new:
                self._apply(event)
            if position is not None:
                self._move(position)
        return len(new)

    def begin(self, orders: Sequence[Row], position: str) -> None:
        """Everything anew."""
        with self._lock, self._file:
            self._file.execute("DELETE FROM orders")
            for order in orders:
                self._put(order)
            self._move(position)

    def orders(self) -> dict[int, Row]:
        with self._lock:
            found = self._file.execute("SELECT id, document FROM orders ORDER BY id").fetchall()
        return {order_id: json.loads(document) for order_id, document in found}

    def _note(self, event_id: str) -> bool:
        """Whether this id is a new one."""
        statement = "INSERT INTO events VALUES (?, ?) ON CONFLICT DO NOTHING"
        return self._file.execute(statement, [event_id, time.time()]).rowcount == 1

    def _apply(self, event: Row) -> None:
        """Webhooks come in no order: an older version than the one that is known changes nothing.

        This is the place for what must be done once for each event, such as printing a delivery note.
        """
        order = event["data"]
        known = self._file.execute("SELECT document FROM orders WHERE id = ?", [order["id"]]).fetchone()
        if known is None or json.loads(known[0])["version"] < order["version"]:
            self._put(order)

    def _put(self, order: Row) -> None:
        self._file.execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", [order["id"], json.dumps(order)])

    def _move(self, position: str) -> None:
        self._file.execute("DELETE FROM feed")
        self._file.execute("INSERT INTO feed VALUES (?)", [position])
        self._file.execute("DELETE FROM events WHERE at < ?", [time.time() - KEPT_SECONDS])


def catch_up(feed: Feed, store: Store) -> int:
    """Apply what happened since the last time, however long ago. How many events were new.

    Page after page of one call: the events after a position.
    """
    applied = 0
    while True:
        position = store.position()
        if position is None:
            begin(feed, store)
            continue
        try:
            events, headers = feed.get(f"/events?types={TYPES}&after={position}")
        except HTTPError as error:
            if error.code != 410:
                raise
            # The position has expired, or the shop was restored to a time before it.
            begin(feed, store)
            continue
        applied += store.apply([(event["id"], event) for event in events], headers["Event-Position"])
        if "Link" not in headers:
            return applied


def begin(feed: Feed, store: Store) -> None:
    """The orders as they are now. The position is taken before they are read: what changes meanwhile is read
    again as an event.
    """
    _, headers = feed.get("/events?after=now")
    orders: list[Row] = []
    path = "/orders?sort=id&limit=100"
    while path:
        page, page_headers = feed.get(path)
        orders += page
        link = page_headers.get("Link")
        path = link.split("<")[1].split(">")[0].removeprefix(urlsplit(feed.url).path) if link else ""
    store.begin(orders, headers["Event-Position"])


def receiver(store: Store, secret: str, port: int) -> ThreadingHTTPServer:
    """A server for the webhook. Behind a proxy that speaks https, as the shop wants it."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            if length > MOST_BYTES:
                self._answer(413)
                return
            body = self.rfile.read(length)
            try:
                verify(secret, {name.lower(): value for name, value in self.headers.items()}, body)
            except (KeyError, ValueError):
                self._answer(400)
                return
            event = json.loads(body)
            # A ping is for us too; types that are added one day are nothing to us.
            if event["type"].startswith("order."):
                store.apply([(self.headers["webhook-id"], event)])
            self._answer(204)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What comes is said by main()."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    path, port = sys.argv[1:]
    feed = Feed(os.environ["SHOP"], os.environ["KEY"])
    with closing(Store(path)) as store, receiver(store, os.environ["WEBHOOK_SECRET"], int(port)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while True:
            print(f"{catch_up(feed, store)} events were missed, {len(store.orders())} orders", flush=True)
            time.sleep(60)


if __name__ == "__main__":
    main()
