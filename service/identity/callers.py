"""Who is calling: a signed-in user, or a machine with an API key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

#: What an API key may do.
Scope = Literal["catalogue:write", "orders:read", "orders:write", "users:read", "events:read"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user who calls by one session."""

    user_id: int
    session_id: int
    is_admin: bool
    key_id: ClassVar[None] = None

    @property
    def subject(self) -> str:
        return f"user:{self.user_id}"

    @property
    def rights(self) -> frozenset[str]:
        return frozenset({"administrator"} if self.is_admin else ())

    @property
    def log_fields(self) -> Mapping[str, int | None]:
        return {"user_id": self.user_id}

    @property
    def sees_only(self) -> int | None:
        """The one user whose orders this caller may see; None: those of all users."""
        return None if self.is_admin else self.user_id

    @property
    def acts_as(self) -> Literal["customer", "staff"]:
        """How the caller appears where users are not named."""
        return "staff" if self.is_admin else "customer"

    def may(self, _: Scope) -> bool:
        """Whether the caller may do for all users what an API key with this scope may do."""
        return self.is_admin


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """A machine that calls with an API key. It acts for no user, and owns nothing."""

    key_id: int
    scopes: frozenset[Scope]
    user_id: ClassVar[None] = None
    #: All orders: the route has checked the scope.
    sees_only: ClassVar[None] = None
    acts_as: ClassVar[Literal["api_key"]] = "api_key"

    @property
    def subject(self) -> str:
        return f"key:{self.key_id}"

    @property
    def rights(self) -> frozenset[str]:
        return frozenset(self.scopes)

    @property
    def log_fields(self) -> Mapping[str, int | None]:
        return {"user_id": None, "key_id": self.key_id}

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


#: An authenticated caller; each route says which kinds it accepts.
AnyCaller = Caller | KeyCaller
