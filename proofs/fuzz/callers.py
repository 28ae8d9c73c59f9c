"""The kinds of callers, each with objects of its own, and how schemathesis signs in as one of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlencode

import httpx2

from service.identity import Scope
from tests.helpers.client import V1
from tests.server.process import PASSWORD, Service, statement

ADMINISTRATOR: Final = "ada@shop.example"
#: The second account: the one that fuzzed administrators activate and deactivate (schemathesis.toml).
CHANGED: Final = "maria@shop.example"
CUSTOMER, OTHER, UNVERIFIED = "ana@shop.example", "bernd@shop.example", "carla@shop.example"
#: Emails of the callers that sign in.
ACCOUNTS: Final = {
    "customer": CUSTOMER,
    "another-customer": OTHER,
    "unverified": UNVERIFIED,
    "administrator": ADMINISTRATOR,
}
#: The rights of API keys, by the caller's name.
KEYS: Final[dict[str, tuple[Scope, ...]]] = {
    **{f"key-{scope.replace(':', '-')}": (scope,) for scope in get_args(Scope)},
    "key-all": get_args(Scope),
}
#: Each is fuzzed for itself; the other customer is there for what is not this one's.
CALLERS: Final = {
    "anonymous": "a caller without credentials",
    "customer": "a customer",
    "unverified": "a customer whose email address is not verified",
    "administrator": "an administrator",
    **{name: f"an API key with {' '.join(scopes)}" for name, scopes in KEYS.items()},
}
#: The examples of the document order the products 11 and 42.
PRODUCTS: Final = 42
VERIFIED: Final = "UPDATE users SET email_verified = true WHERE email = '{}'"


def prepare(service: Service, database_url: str, path: Path) -> None:
    """Something to be found by each caller; `path` gets their credentials, as Web Fuzzing Commons has them.

    By these schemathesis signs in, and again whenever a token has ended.
    """
    tokens = {email: service.register(email) for email in (CHANGED, CUSTOMER, OTHER, UNVERIFIED)}
    statement(database_url, *(VERIFIED.format(email) for email in (CHANGED, CUSTOMER, OTHER)))
    with service.client(str(service.sign_in(ADMINISTRATOR).json()["access_token"])) as admin:
        goods = [{"name": f"Tea {number}", "price": "14.00", "stock": 1_000} for number in range(PRODUCTS)]
        _made(admin.post("/items/batch", json=goods))
        _made(admin.post("/posts", json={"title": "Chai", "body": "It is back."}))
        for number in range(3):
            order = {"product_id": 1 + number, "quantity": 1, "user_id": 2}
            _made(admin.post("/orders", json=order, headers={"Idempotency-Key": f"order-{number}"}))
        keys = {name: _made(_key(admin, name, scopes))["key"] for name, scopes in KEYS.items()}
    for email, token in tokens.items():
        with service.client(token) as customer:
            _made(customer.post("/posts", json={"title": "Thanks", "body": "For the tea."}))
            order = {"product_id": 7, "quantity": 2}
            _made(customer.post("/orders", json=order, headers={"Idempotency-Key": f"order-of-{email}"}))
    path.write_text(json.dumps({"auth": [_entry(each) for each in _credentials(keys)]}))


@dataclass(frozen=True)
class _Credentials:
    name: str
    email: str | None = None
    key: str | None = None


def _credentials(keys: dict[str, str]) -> Iterator[_Credentials]:
    yield _Credentials("anonymous")
    yield from (_Credentials(name, email=email) for name, email in ACCOUNTS.items())
    yield from (_Credentials(name, key=key) for name, key in keys.items())


def _entry(of: _Credentials) -> dict[str, Any]:
    if of.email is None:
        header = {"name": "User-Agent", "value": f"fuzz ({of.name})"}
        if of.key is not None:
            header = {"name": "Authorization", "value": f"Bearer {of.key}"}
        return {"name": of.name, "fixedHeaders": [header]}
    token = {"extractFrom": "body", "extractSelector": "/access_token", "sendIn": "header"}
    token |= {"sendName": "Authorization", "sendTemplate": "Bearer {token}"}
    form = {"grant_type": "password", "username": of.email, "password": PASSWORD}
    login = {
        "endpoint": f"{V1}/auth/token", "verb": "POST", "payloadRaw": urlencode(form),
        "contentType": "application/x-www-form-urlencoded", "token": token,
    }  # fmt: skip
    return {"name": of.name, "loginEndpointAuth": login}


def _key(admin: httpx2.Client, name: str, scopes: tuple[Scope, ...]) -> httpx2.Response:
    return admin.post("/api-keys", json={"name": name, "scopes": list(scopes)})


def _made(answer: httpx2.Response) -> Any:
    assert answer.status_code == 201, answer.text
    return answer.json()
