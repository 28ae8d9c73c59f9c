"""Credentials that are revoked and then used: sessions, all of a user's, and API keys."""

import asyncio
from typing import ClassVar, Final

from proofs.load.accounts import Account
from proofs.load.client import Client, fingerprint, nothing
from proofs.load.history import Call

#: A revoked credential is used at these seconds after the revocation was acknowledged.
USED_AFTER: Final = (0.0, 0.3, 1.05, 1.3, 1.8)


class Revoker(Client):
    kind: ClassVar[str] = "revoker"
    steady: ClassVar[bool] = False
    pause: ClassVar[tuple[float, float]] = (0.5, 2.0)

    async def prepare(self) -> None:
        self.account = await Account.register(self, self.name)

    async def step(self) -> None:
        await self.random.choice((self._session, self._token, self._user, self._api_key))()

    async def _signed_in(self) -> bool:
        self.account.access = ""
        return (await self.account.sign_in(self)).done

    async def _use(self, token: str, path: str = "/users/profile") -> Call:
        return await self.call("credential.use", "GET", path, token=token, keep=nothing, sent={})

    async def _use_after(self, token: str, revoked: Call, path: str = "/users/profile") -> None:
        """It is refused within a second of the revocation."""
        if not (revoked.done or revoked.status == 404):
            return  # 404 is the second answer to a revocation whose first was lost
        passed = 0.0
        for moment in USED_AFTER:
            await asyncio.sleep(moment - passed)
            passed = moment
            await self._use(token, path)

    async def _session(self) -> None:
        """Ended by its user from another device."""
        if not await self._signed_in():
            return
        doomed = self.account.access
        listed = await self.call(
            "session.list",
            "GET",
            "/auth/sessions",
            token=doomed,
            keep=lambda body: [[each["id"], each["current"]] for each in body],
            sent={},
        )
        if not listed.done or not await self._signed_in():
            return
        await self._use(doomed)
        session_id = next(each for each, current in listed.body if current)
        revoked = await self.insist(
            "session.end",
            "DELETE",
            f"/auth/sessions/{session_id}",
            token=self.account.access,
            sent={"revokes": [fingerprint(doomed)]},
        )
        await self._use_after(doomed, revoked)

    async def _token(self) -> None:
        """Signed out with the token itself."""
        if not await self._signed_in():
            return
        doomed = self.account.access
        await self._use(doomed)
        revoked = await self.insist(
            "session.revoke",
            "POST",
            "/auth/revoke",
            form={"token": doomed},
            sent={"revokes": [fingerprint(doomed)]},
        )
        await self._use_after(doomed, revoked)

    async def _user(self) -> None:
        """Deactivated by an administrator, and activated again: tokens from before stay void."""
        if not await self._signed_in():
            return
        doomed, path = self.account.access, f"/admin/users/{self.account.id}"
        await self._use(doomed)
        revoked = await self.as_account(
            self.load.administrator,
            "user.deactivate",
            "PATCH",
            path,
            body={"is_active": False},
            keep=nothing,
            sent={"revokes": [fingerprint(doomed)], "user": self.account.id},
        )
        await self._use_after(doomed, revoked)
        active = False
        while not active and not self.gives_up:
            call = await self.as_account(
                self.load.administrator,
                "user.activate",
                "PATCH",
                path,
                body={"is_active": True},
                keep=nothing,
                sent={"user": self.account.id},
            )
            active = call.done

    async def _api_key(self) -> None:
        made = await self.as_account(
            self.load.administrator,
            "api_key.create",
            "POST",
            "/api-keys",
            body={"name": self.new_key("key"), "scopes": ["orders:read"]},
            keep=lambda body: {"id": body["id"]},
        )
        if not made.done or not (secret := self.raw.json().get("key")):
            return
        path = "/orders?limit=1"
        await self._use(secret, path)
        revoked = await self.as_account(
            self.load.administrator,
            "api_key.revoke",
            "DELETE",
            f"/api-keys/{made.body['id']}",
            sent={"revokes": [fingerprint(secret)]},
        )
        await self._use_after(secret, revoked, path)
