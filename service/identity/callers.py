"""Who is calling, and what they may: a signed-in user, or a machine with an API key."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Self, get_args

#: What may be done with the objects of all users. Administrators have all of them.
Scope = Literal[
    "catalogue:read",
    "catalogue:write",
    "orders:read",
    "orders:write",
    "users:read",
    "users:write",
    "posts:read",
    "posts:write",
    "webhooks:read",
    "webhooks:write",
    "keys:read",
    "keys:write",
    "staff:read",
    "staff:write",
    "events:read",
    "audit:read",
]
#: What an API key may have: a machine administers neither persons nor keys nor where events are sent.
KeyScope = Literal[
    "catalogue:read",
    "catalogue:write",
    "orders:read",
    "orders:write",
    "users:read",
    "posts:read",
    "events:read",
]
SCOPES: Final[frozenset[str]] = frozenset(get_args(Scope))
KEY_SCOPES: Final[frozenset[str]] = frozenset(get_args(KeyScope))
#: The right to what no scope opens.
ADMINISTRATOR: Final = "administrator"


def rights_of(scopes: Iterable[str], *, is_admin: bool) -> frozenset[str]:
    """All that a user may who was granted this: who writes something reads it too."""
    if is_admin:
        return SCOPES
    granted = frozenset(scopes)
    return SCOPES & granted.union(map(_read_by, granted))


def rights_of_key(given: Iterable[str], maker: frozenset[str]) -> frozenset[str]:
    """What a key may: what it was given, as far as its maker may it now.

    To write orders is not to read those of all users: a till that sends them gets no list of customers.
    """
    scopes = maker.intersection(given)
    return scopes | (maker & {"catalogue:read"}) if "catalogue:write" in scopes else scopes


def _read_by(scope: str) -> str:
    return scope.removesuffix(":write") + ":read" if scope.endswith(":write") else scope


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user who calls by one session. `scopes` has what those that were granted include."""

    user_id: int
    session_id: int
    is_admin: bool
    scopes: frozenset[str] = frozenset()
    key_id: ClassVar[None] = None

    @classmethod
    def of(cls, user_id: int, session_id: int, *, is_admin: bool, scopes: Iterable[str]) -> Self:
        """Who was granted this."""
        return cls(
            user_id, session_id, is_admin, frozenset() if is_admin else rights_of(scopes, is_admin=False)
        )

    @property
    def subject(self) -> str:
        return f"user:{self.user_id}"

    @property
    def account_id(self) -> int:
        """The account that the access depends on."""
        return self.user_id

    @property
    def rights(self) -> frozenset[str]:
        return frozenset({ADMINISTRATOR}) if self.is_admin else self.scopes

    @property
    def log_fields(self) -> Mapping[str, int | None]:
        return {"user_id": self.user_id}

    @property
    def sees_only(self) -> int | None:
        """The one user whose orders this caller may see; None: those of all users."""
        return None if self.may("orders:read") else self.user_id

    @property
    def changes_only(self) -> int | None:
        """The one user whose orders this caller may change; None: those of all users."""
        return None if self.may("orders:write") else self.user_id

    @property
    def acts_as(self) -> Literal["customer", "staff"]:
        """How the caller appears where users are not named."""
        return "staff" if self.may("orders:write") else "customer"

    def may(self, right: str) -> bool:
        """Whether the caller may do for all users what this scope opens."""
        return self.is_admin or right in self.scopes


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """A machine that calls with an API key. It acts for no user, and owns nothing.

    `scopes` has what the key may now, which is never more than its maker may.
    """

    key_id: int
    scopes: frozenset[str]
    #: Its maker.
    account_id: int
    user_id: ClassVar[None] = None
    #: All orders: the route has checked the scope.
    sees_only: ClassVar[None] = None
    changes_only: ClassVar[None] = None
    acts_as: ClassVar[Literal["api_key"]] = "api_key"

    @property
    def subject(self) -> str:
        return f"key:{self.key_id}"

    @property
    def rights(self) -> frozenset[str]:
        return self.scopes

    @property
    def log_fields(self) -> Mapping[str, int | None]:
        return {"user_id": None, "key_id": self.key_id}

    def may(self, right: str) -> bool:
        return right in self.scopes


#: An authenticated caller; each route says which kinds it accepts.
AnyCaller = Caller | KeyCaller
