"""The accounts of the clients. Each signs in by itself, and again when its token is about to end."""

import time
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from proofs.load.client import Client, fingerprint
from proofs.load.history import Call

PASSWORD: Final = "correct-horse-1"
#: An access token is good for ten minutes.
RENEW_SECONDS: Final = 400.0
PROMOTE: Final = "UPDATE users SET is_admin = true, email_verified = true WHERE email = $1"
VERIFY: Final = "UPDATE users SET email_verified = true WHERE email = $1"


def token_facts(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "access": fingerprint(body["access_token"]),
        "refresh": fingerprint(body["refresh_token"]),
        "expires_in": body["expires_in"],
    }


@dataclass
class Account:
    email: str
    id: int = 0
    access: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)
    taken_at: float = 0.0

    @classmethod
    async def register(cls, client: Client, name: str) -> "Account":
        account = cls(f"{client.load.name}-{name}@shop.example")
        body = {"email": account.email, "password": PASSWORD, "full_name": "Maria Anders"}
        call = await client.call("user.register", "POST", "/users", body=body, sent={"email": account.email})
        if call.status != 201:
            raise RuntimeError(f"registering {account.email}: {call.status} {call.body} {call.error}")
        account.id = call.body["id"]
        return account

    async def sign_in(self, client: Client) -> Call:
        """Once; the account has the tokens if it succeeds."""
        form = {"grant_type": "password", "username": self.email, "password": PASSWORD}
        call = await client.call(
            "session.sign_in", "POST", "/auth/token", form=form, sent={"user": self.id}, keep=token_facts
        )
        if call.done:
            tokens = client.raw.json()
            self.access, self.refresh = tokens["access_token"], tokens["refresh_token"]
            self.taken_at = time.monotonic()
        return call

    async def token(self, client: Client) -> str:
        """One that is good for some minutes more, once the service answers; the old one if it does not."""
        while not self.access or time.monotonic() > self.taken_at + RENEW_SECONDS:
            await self.sign_in(client)
            if client.gives_up:
                break
            if not self.access:
                await client.wait(0.3)
        return self.access

    def forget(self, token: str | None) -> None:
        """It was refused: sign in again."""
        if token == self.access:
            self.access = ""


async def grant(database_url: str, statement: str, email: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement, email)
    finally:
        await connection.close()
