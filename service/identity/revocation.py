"""Whether a good token still stands for somebody, decided without asking the database.

Tokens last ten minutes. What has changed since they were signed is little: the sessions that have
ended and the users whose access has changed within that time. Each process holds those few, loaded
when it starts to listen and fed by the change feed. While the feed's lease has lapsed, the database is
asked instead.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.errors import InvalidToken
from service.identity import sessions
from service.identity.callers import Caller
from service.identity.tokens import ACCESS_TOKEN_SECONDS, LEEWAY_SECONDS
from service.platform.database import Database, Session
from service.platform.database.change_feed import Change, ChangeFeed, Reader
from service.platform.http.authentication import BeforeLookup

#: After this no token from before a change is good any more, and the change may be forgotten.
REMEMBERED_SECONDS: Final = ACCESS_TOKEN_SECONDS + 2 * LEEWAY_SECONDS

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user may do now, whatever older tokens say."""

    is_active: bool
    is_admin: bool


class Recent(Generic[Value]):
    """A mapping from ids that forgets each entry REMEMBERED_SECONDS after it was put in."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[int, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: int) -> Value | None:
        entry = self._entries.get(key)
        return entry[1] if entry else None

    def put(self, key: int, value: Value, *, replace: bool = True) -> None:
        if not replace and key in self._entries:
            return
        now = self._clock()
        self._entries[key] = (now + REMEMBERED_SECONDS, value)
        self._entries.move_to_end(key)
        while next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


class Access:
    """The changes of the last token lifetime, as this process knows them."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._users: Recent[Standing] = Recent(clock)
        self._ended: Recent[bool] = Recent(clock)
        #: Sessions that the database has refused, asked because nothing was heard.
        self._refused: Recent[bool] = Recent(clock)

    @property
    def reader(self) -> Reader:
        return Reader(load=self.load, changed=self.changed)

    async def load(self) -> None:
        """Read what holds now. What is heard while this reads is newer, and stays."""
        self._users.clear()
        self._ended.clear()
        async with self._database.reading() as session:
            users = await sessions.get_access_changes(session, REMEMBERED_SECONDS)
            ended = await sessions.get_ended_sessions(session, REMEMBERED_SECONDS)
        for row in users:
            self._users.put(row.id, Standing(row.is_active, row.is_admin), replace=False)
        for session_id in ended:
            self._ended.put(session_id, value=True)

    def changed(self, change: Change) -> None:
        if change["of"] == "users":
            self._users.put(change["id"], Standing(change["is_active"], change["is_admin"]))
        elif change["of"] == "sessions":
            self._ended.put(change["id"], value=True)

    def was_refused(self, named: Caller) -> bool:
        return bool(self._refused.get(named.session_id))

    def note_refused(self, named: Caller) -> None:
        self._refused.put(named.session_id, value=True)

    def caller(self, named: Caller) -> Caller:
        """The caller as things stand. Raises InvalidToken once the session or the account is void."""
        if self._ended.get(named.session_id):
            raise InvalidToken
        standing = self._users.get(named.user_id)
        if standing is None:
            return named
        if not standing.is_active:
            raise InvalidToken
        return Caller(named.user_id, named.session_id, standing.is_admin)


async def current(session: Session, named: Caller) -> Caller:
    """The caller as the database knows it. Raises InvalidToken once the session or account is void."""
    row = await sessions.get_caller(session, user_id=named.user_id, session_id=named.session_id)
    if row is None:
        raise InvalidToken
    return Caller(named.user_id, named.session_id, row.is_admin)


async def admitted(
    database: Database,
    feed: ChangeFeed,
    access: Access,
    named: Caller,
    before_lookup: BeforeLookup | None = None,
) -> Caller:
    """Who a verified token stands for. Raises InvalidToken for nobody.

    `before_lookup` is awaited before the database is asked, with whom the token seems to stand for: None
    once that was refused, so that a void token uses up nothing of its user's.
    """
    if feed.current:
        return access.caller(named)
    if before_lookup is not None:
        await before_lookup(None if access.was_refused(named) else named)
    try:
        async with database.reading() as session:
            return await current(session, named)
    except InvalidToken:
        access.note_refused(named)
        raise
