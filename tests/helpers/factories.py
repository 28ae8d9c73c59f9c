"""What tests start from: plain functions that go through the services or the API."""

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar

from service import notifications
from service.accounts.api_keys import service as api_keys
from service.accounts.api_keys.schemas import ApiKeyCreate
from service.accounts.sign_in import repository as sessions
from service.accounts.users import repository as users
from service.catalogue import service as items
from service.catalogue.schemas import Item, ItemCreate
from service.container.api import Container
from service.identity import Caller, Scope
from service.platform.database import Session
from service.posts import repository as posts
from tests.helpers.client import Api

PASSWORD = "correct-horse-1"
_numbers = count(1)


@dataclass
class Person:
    """A user with a client that is signed in as that user."""

    id: int
    email: str
    api: Api
    caller: Caller
    token: str = field(repr=False)


@dataclass
class Machine:
    """An API key with a client that calls with it."""

    id: int
    api: Api
    maker: Person
    key: str = field(repr=False)


class Make:
    #: Of PASSWORD, made once for all tests of a process: hashing is slow on purpose.
    _hash: ClassVar[str | None] = None

    def __init__(self, api: Api, container: Container) -> None:
        self.api, self.container = api, container

    async def user(
        self,
        *,
        email: str | None = None,
        full_name: str = "Maria Anders",
        is_admin: bool = False,
        is_active: bool = True,
        address: dict[str, Any] | None = None,
    ) -> Person:
        """A user, signed in, with the password PASSWORD."""
        email = email or f"person{next(_numbers)}@shop.example"
        async with self.container.database.transaction() as session:
            user_id = await users.add(
                session,
                email=email,
                full_name=full_name,
                password_hash=await self._password_hash(),
                is_active=True,
                is_admin=is_admin,
            )
            assert user_id is not None, f"{email} is taken"
            if address is not None:
                await users.put_address(session, user_id, address)
            person = await self._sign_in(session, user_id, email, is_admin=is_admin)
            if not is_active:
                await users.change(session, user_id, {"is_active": False})
        return person

    async def admin(self, **options: Any) -> Person:
        return await self.user(is_admin=True, full_name="Ada Admin", **options)

    async def signed_in_again(self, person: Person) -> Person:
        """The same person by another session."""
        async with self.container.database.transaction() as session:
            is_admin = person.caller.is_admin
            return await self._sign_in(session, person.id, person.email, is_admin=is_admin)

    async def key(self, *scopes: Scope, maker: Person | None = None) -> Machine:
        """An API key; where no maker is given, of an administrator of its own."""
        maker = maker or await self.admin()
        new = ApiKeyCreate(name="Till in Berlin", scopes=list(scopes))
        async with self.container.database.transaction() as session:
            made = await api_keys.create(session, maker.caller, new)
        assert made.key is not None
        return Machine(made.id, self.api.signed_in(made.key), maker, made.key)

    async def post(
        self, author: Person, *, title: str = "News", body: str = "Chai is back.", published: bool = True
    ) -> int:
        async with self.container.database.transaction() as session:
            return await posts.add(session, author.id, title=title, body=body, published=published)

    async def notification(self, person: Person, *, title: str = "Order 1 has been shipped") -> None:
        data = {"order_id": 1}
        async with self.container.database.transaction() as session:
            await notifications.notify(
                session, person.id, kind="order.shipped", title=title, body="On its way.", data=data
            )

    async def item(
        self,
        *,
        name: str = "Chai",
        price: str = "18.00",
        stock: int = 0,
        reorder_level: int = 0,
        **fields: Any,
    ) -> Item:
        new = ItemCreate(name=name, price=Decimal(price), stock=stock, reorder_level=reorder_level, **fields)
        async with self.container.database.transaction() as session:
            return await items.create(session, new, by=None)

    async def _sign_in(self, session: Session, user_id: int, email: str, *, is_admin: bool) -> Person:
        stored = await self._password_hash()
        session_id = await sessions.start_session(session, user_id, password_hash=stored, client="tests")
        assert session_id is not None
        caller = Caller(user_id, session_id, is_admin)
        token = self.container.tokens.issue(caller, client_id="tests")
        return Person(user_id, email, self.api.signed_in(token), caller, token)

    async def _password_hash(self) -> str:
        if Make._hash is None:
            Make._hash = await self.container.passwords.hash(PASSWORD)
        return Make._hash
