"""Who is calling: a signed-in user, or a machine with an API key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

#: What an API key may be for.
Scope = Literal["catalogue:write", "orders:read", "orders:write", "users:read", "events:read"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: a signed-in user, by one session."""

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
        """The one user whose orders this caller may see; None: everybody's."""
        return None if self.is_admin else self.user_id

    @property
    def acts_as(self) -> Literal["customer", "staff"]:
        """What is told of them where persons are not named."""
        return "staff" if self.is_admin else "customer"

    def may(self, _: Scope) -> bool:
        """Whether what a key with this scope does for everybody is theirs to do."""
        return self.is_admin


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """What is calling: a machine, by an API key. It acts for nobody, and nothing is its own."""

    key_id: int
    scopes: frozenset[Scope]
    user_id: ClassVar[None] = None
    #: Whatever it may do with them: the route has asked which of its scopes it needs.
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


#: Who or what has shown that it may call; each route says which of them it admits.
AnyCaller = Caller | KeyCaller
