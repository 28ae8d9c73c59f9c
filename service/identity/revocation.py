"""Which sessions and users have lost access while their access tokens still last.

Tokens last ten minutes. Few sessions end and few users change within that time: each process holds those,
loaded when it starts to listen and fed by the change feed, so that a request need not ask the database.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cachetools import TTLCache

from service.errors import InvalidToken
from service.identity import repository as sessions
from service.identity.callers import Caller
from service.identity.tokens import ACCESS_TOKEN_SECONDS, LEEWAY_SECONDS
from service.platform.database import Database
from service.platform.database.change_feed import Change, ChangeListener

#: After this no token from before a change is good any more, and the change may be forgotten.
REMEMBERED_SECONDS: Final = ACCESS_TOKEN_SECONDS + 2 * LEEWAY_SECONDS


@dataclass(frozen=True, slots=True)
class UserAccess:
    """What a user may do now, whatever older tokens say."""

    is_active: bool
    is_admin: bool


def recent(clock: Callable[[], float]) -> TTLCache[int, Any]:
    """A mapping from ids that forgets each entry REMEMBERED_SECONDS after it was set."""
    return TTLCache(math.inf, REMEMBERED_SECONDS, timer=clock)


class Revocations:
    """The changes of the last token lifetime, as this process knows them."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._users: TTLCache[int, UserAccess] = recent(clock)
        self._ended: TTLCache[int, bool] = recent(clock)
        #: Sessions that the database has refused, asked while the feed was not in sync.
        self._refused: TTLCache[int, bool] = recent(clock)

    @property
    def listener(self) -> ChangeListener:
        return ChangeListener(load=self.load, on_change=self.on_change)

    async def load(self) -> None:
        """Read what holds now. A change that the feed reports meanwhile is newer, and stays."""
        self._users.clear()
        self._ended.clear()
        async with self._database.reading() as session:
            users = await sessions.get_access_changes(session, REMEMBERED_SECONDS)
            ended = await sessions.get_ended_sessions(session, REMEMBERED_SECONDS)
        for row in users:
            self._users.setdefault(row.id, UserAccess(row.is_active, row.is_admin))
        for session_id in ended:
            self._ended[session_id] = True

    def on_change(self, change: Change) -> None:
        if change["of"] == "users":
            self._users[change["id"]] = UserAccess(change["is_active"], change["is_admin"])
        elif change["of"] == "sessions":
            self._ended[change["id"]] = True

    def was_refused(self, claimed: Caller) -> bool:
        return claimed.session_id in self._refused

    def note_refused(self, claimed: Caller) -> None:
        self._refused[claimed.session_id] = True

    def apply(self, claimed: Caller) -> Caller:
        """The caller with the role of now. Raises InvalidToken if the session or the user has lost access."""
        if claimed.session_id in self._ended:
            raise InvalidToken
        # Most users are not in it, and `get` would look twice.
        access = self._users.get(claimed.user_id) if claimed.user_id in self._users else None
        if access is None:
            return claimed
        if not access.is_active:
            raise InvalidToken
        return Caller(claimed.user_id, claimed.session_id, access.is_admin)
