"""A route, a valid request for it, and who may make it."""

from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from service.identity import KeyScope, Scope
from service.platform.http.problems import OAUTH_PATHS
from tests.contract.objects import Prepare
from tests.helpers.client import V1
from tests.helpers.factories import Make, Person

CALLERS: Final = ("anonymous", "owner", "other", "administrator")
_numbers = count(1)


@dataclass(frozen=True)
class Route:
    """`expects` has the statuses for CALLERS, in their order, each on a state of its own.

    `on` makes what the request is about, for its owner, and answers with what stands in the path. `key`
    is the scope with which an API key is admitted, and its status; without, it is refused, or a stranger.
    A user with that scope, or with all of `scopes`, gets what an administrator gets; `also` is what users and
    keys need beside it for what this request names.
    """

    method: str
    template: str
    expects: tuple[int, int, int, int]
    on: Prepare | None = None
    json: Any = None
    form: dict[str, str] | None = None
    #: Of a zip.
    content: bytes | None = None
    query: str = ""
    note: str = ""
    key: tuple[KeyScope, int] | None = None
    scopes: tuple[Scope, ...] = ()
    also: tuple[Scope, ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.note}".strip()

    @property
    def staff(self) -> tuple[Scope, ...]:
        """The scopes with which a user gets what an administrator gets."""
        return self.scopes or (() if self.key is None else (self.key[0],))

    @property
    def ignores_tokens(self) -> bool:
        """Outside the API nobody is asked who they are, and where tokens are made nobody has one."""
        return not self.template.startswith(V1) or self.template in OAUTH_PATHS

    async def request(self, make: Make, owner: Person) -> dict[str, Any]:
        """A valid request, as the client's `request` takes it."""
        key = await self.on(make, owner) if self.on else None
        head, brace, tail = self.template.partition("{")
        path = f"{head}{key}{tail.rpartition('}')[2]}" if brace else head
        fill = {"number": next(_numbers), "item": key, "owner": owner.email, "owner_id": owner.id}
        made: dict[str, Any] = {"method": self.method, "url": f"http://shop.test{path}{self.query}"}
        if self.json is not None:
            made["json"] = filled(self.json, fill)
        if self.form is not None:
            made["data"] = filled(self.form, fill)
        if self.content is not None:
            made |= {"content": self.content, "headers": {"Content-Type": "application/zip"}}
        return made


def filled(value: Any, fill: dict[str, Any]) -> Any:
    """`<name>` is what `fill` has under that name; inside of a text it is put in."""
    if isinstance(value, dict):
        return {name: filled(each, fill) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, fill) for each in value]
    for name, known in fill.items():
        if value == f"<{name}>":
            return known
        if isinstance(value, str):
            value = value.replace(f"<{name}>", str(known))
    return value
