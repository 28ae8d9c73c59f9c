"""Go through a running service as its customers do, over its API alone: is what was installed in order?

A fresh customer registers, signs in, reads the profile and the catalogue. Where ADMIN_EMAIL and
ADMIN_PASSWORD are given, the administrator adds an item, and the customer orders it, reads the invoice
and cancels. What can be taken back is, in the end: the item is withdrawn, the account deleted.
"""

import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from service.errors import ConfigError
from service.platform.config import Settings
from service.platform.config.sources import collect

V1: Final = "/api/v1"
#: For one answer; hashing a password may have to wait in a queue.
PATIENCE_SECONDS: Final = 20.0
STOCK: Final = 3
QUANTITY: Final = 2
TOTAL: Final = "25.00"
HOME: Final = {"street": "1 Smoke Street", "city": "Berlin", "postal_code": "12209", "country": "DE"}


class Failed(Exception):
    """A step did not do what it should; the message says what happened instead."""


@dataclass
class Person:
    email: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)


def run(url: str) -> int:
    """One line a step; 0 when all of them went well, 1 otherwise."""
    administrator = _administrator()
    base = url or f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"
    if not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/\S*)?", base):
        raise ConfigError(("--url: is no URL; write http://host:port",))
    begin = time.monotonic()
    with httpx2.Client(base_url=base, timeout=PATIENCE_SECONDS) as client:
        walk = Walk(client)
        well = walk.passed(administrator)
    seconds = time.monotonic() - begin
    print(f"{walk.done} steps passed in {seconds:.1f} s" if well else f"The smoke test of {base} failed")
    return 0 if well else 1


def _administrator() -> Person | None:
    """From the environment or mounted files, as the service itself would read it; nothing else is needed."""
    faults: dict[str, str] = {}
    given = collect(Settings, os.environ, None, faults)
    names = ("admin_email", "admin_password")
    if ("admin_email" in given) != ("admin_password" in given):
        faults["admin_email"] = "and ADMIN_PASSWORD are set together, or neither"
    if relevant := [f"{name.upper()}: {faults[name]}" for name in names if name in faults]:
        raise ConfigError(tuple(relevant))
    return Person(given["admin_email"], given["admin_password"]) if "admin_email" in given else None


class Walk:
    """The way through the service; `done` counts its steps."""

    def __init__(self, client: httpx2.Client) -> None:
        self.done = 0
        self._client = client
        self._customer = Person(
            f"smoke-{secrets.token_hex(8)}@tradepost.example", f"{secrets.token_urlsafe(18)}-1"
        )
        self._item: dict[str, Any] = {}
        self._order: dict[str, Any] = {}

    def passed(self, administrator: Person | None) -> bool:
        steps: list[tuple[str, Callable[[], None]]] = [
            ("register a customer", self._register),
            ("sign in", lambda: self._sign_in(self._customer)),
            ("read the profile", self._read_profile),
            ("list the catalogue", self._list),
        ]
        if administrator is not None:
            steps += [
                ("sign in as administrator", lambda: self._sign_in(administrator)),
                ("add an item", lambda: self._add_item(administrator)),
                ("put it into stock", lambda: self._change_stock(administrator)),
                ("order it", self._place_order),
                ("read the invoice", self._read_invoice),
                ("cancel the order", self._cancel_order),
                ("find it in stock again", lambda: self._see_stock(administrator)),
            ]
        well = all(self._tried(name, step) for name, step in steps)
        if well and administrator is None:
            print("--    nothing is ordered: ADMIN_EMAIL and ADMIN_PASSWORD are not set", flush=True)
        # After a failure too; that one is printed already.
        if self._item and administrator is not None:
            well = self._tried("withdraw the item", lambda: self._withdraw(administrator)) and well
        if self._customer.token:
            well = self._tried("delete the customer", self._delete_customer) and well
        return well

    def _tried(self, name: str, step: Callable[[], None]) -> bool:
        try:
            step()
        except Failed as fault:
            print(f"FAIL  {name}: {fault}", flush=True)
            return False
        print(f"ok    {name}", flush=True)
        self.done += 1
        return True

    def _register(self) -> None:
        person = self._customer
        body = {"email": person.email, "password": person.password, "full_name": "Smoke Test"}
        user = self._asked("POST", "/users", 201, json=body)
        _same("the address", user.get("email"), person.email)

    def _sign_in(self, person: Person) -> None:
        form = {"grant_type": "password", "username": person.email, "password": person.password}
        person.token = str(self._asked("POST", "/auth/token", 200, data=form).get("access_token", ""))
        if not person.token:
            raise Failed("the answer has no access_token")

    def _read_profile(self) -> None:
        profile = self._asked("GET", "/users/profile", 200, by=self._customer)
        _same("the address", profile.get("email"), self._customer.email)

    def _list(self) -> None:
        self._asked("GET", "/items?limit=1", 200, kind=list)

    def _add_item(self, administrator: Person) -> None:
        new = {"name": "Smoke test, not for sale", "price": "12.50", "stock": 1}
        self._item = self._asked("POST", "/items", 201, by=administrator, json=new)

    def _change_stock(self, administrator: Person) -> None:
        change = {"delta": STOCK - 1, "reason": "Smoke test"}
        stock = self._asked(
            "POST", f"/items/{self._item.get('id')}/stock", 200, by=administrator, json=change
        )
        _same("the stock", stock.get("quantity"), STOCK)

    def _place_order(self) -> None:
        line = {"product_id": self._item.get("id"), "quantity": QUANTITY, "unit_price": "12.50"}
        body = {"lines": [line], "ship_to": HOME, "reference": "Smoke test"}
        key = {"Idempotency-Key": secrets.token_hex(16)}
        self._order = self._asked("POST", "/orders", 201, by=self._customer, json=body, headers=key)
        _same("the subtotal", self._order.get("subtotal"), TOTAL)

    def _read_invoice(self) -> None:
        answer = self._answer("GET", f"/orders/{self._order.get('id')}/invoice.pdf", 200, by=self._customer)
        if not answer.content.startswith(b"%PDF-"):
            raise Failed(f"the answer is no PDF, but {answer.headers.get('content-type')}")

    def _cancel_order(self) -> None:
        body = {"reason": "Smoke test"}
        order = self._asked(
            "POST", f"/orders/{self._order.get('id')}/cancel", 200, by=self._customer, json=body
        )
        _same("the order's status", order.get("status"), "cancelled")

    def _see_stock(self, administrator: Person) -> None:
        stock = self._asked("GET", f"/items/{self._item.get('id')}/stock", 200, by=administrator)
        _same("the stock", stock.get("quantity"), STOCK)

    def _withdraw(self, administrator: Person) -> None:
        self._answer("DELETE", f"/items/{self._item.get('id')}", 204, by=administrator)

    def _delete_customer(self) -> None:
        body = {"current_password": self._customer.password}
        self._answer("DELETE", "/users/profile", 204, by=self._customer, json=body)

    def _asked(
        self,
        method: str,
        path: str,
        status: int,
        *,
        kind: type = dict,
        by: Person | None = None,
        **options: Any,
    ) -> Any:
        """The JSON that is answered."""
        answer = self._answer(method, path, status, by=by, **options)
        try:
            document = answer.json()
        except ValueError:
            content = answer.headers.get("content-type", "nothing")
            raise Failed(f"{method} {V1}{path} answered no JSON, but {content}: is this Tradepost?") from None
        if not isinstance(document, kind):
            raise Failed(f"{method} {V1}{path} answered JSON of another form: is this Tradepost?")
        return document

    def _answer(
        self, method: str, path: str, status: int, *, by: Person | None = None, **options: Any
    ) -> httpx2.Response:
        if by is not None:
            options["headers"] = {"Authorization": f"Bearer {by.token}", **options.get("headers", {})}
        try:
            answer = self._client.request(method, f"{V1}{path}", **options)
        except httpx2.TimeoutException:
            message = f"no answer to {method} {V1}{path} within {PATIENCE_SECONDS:.0f} s"
            raise Failed(message) from None
        except httpx2.TransportError as fault:
            raise Failed(f"{self._client.base_url} cannot be reached: {fault}") from None
        if answer.status_code != status:
            raise Failed(f"{method} {V1}{path} answered {answer.status_code}, not {status}{_reason(answer)}")
        return answer


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Failed(f"{what} is {found!r}, not {expected!r}")


def _reason(answer: httpx2.Response) -> str:
    """What a problem, or an error of OAuth, says of itself."""
    try:
        problem = answer.json()
    except ValueError:
        return f" (no JSON, but {answer.headers.get('content-type', 'nothing')}: is this Tradepost?)"
    if not isinstance(problem, dict):
        return ""
    code = problem.get("code") or problem.get("error") or ""
    detail = problem.get("detail") or problem.get("error_description") or ""
    again = answer.headers.get("retry-after")
    words = [str(code), str(detail), f"Retry-After: {again} s." if again else ""]
    request = answer.headers.get("x-request-id")
    return ": " + " ".join(word for word in words if word) + (f" (request {request})" if request else "")
