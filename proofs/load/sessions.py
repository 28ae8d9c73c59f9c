"""Those who stay signed in by refreshing, and a thief who comes back with an old refresh token."""

import asyncio
from typing import ClassVar, Final

from proofs.load.accounts import Account, token_facts
from proofs.load.client import Client, fingerprint, nothing
from proofs.load.history import Call

#: After so many seconds a rotated token counts as stolen; one more for clocks and answers under way.
GRACE_SECONDS: Final = 20.0
STOLEN_AFTER_SECONDS: Final = GRACE_SECONDS + 2.0


class SessionClient(Client):
    """With an account of its own."""

    async def prepare(self) -> None:
        self.account = await Account.register(self, self.name)

    async def sign_in(self) -> bool:
        while not (call := await self.account.sign_in(self)).done:
            if self.gives_up or self.load.ending.is_set() or call.refused:
                return False
            await self.wait(0.3)
        return True

    async def refresh(self, token: str, *, abandon_after: float | None = None) -> Call:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.call(
            "session.refresh",
            "POST",
            "/auth/token",
            form=form,
            sent={"token": fingerprint(token)},
            keep=token_facts,
            abandon_after=abandon_after,
        )

    async def use(self, token: str) -> Call:
        return await self.call("profile.use", "GET", "/users/profile", token=token, keep=nothing, sent={})


class Refresher(SessionClient):
    """A chain of refresh tokens: sometimes the answer is lost, sometimes two tabs refresh at once."""

    kind: ClassVar[str] = "refresher"
    pause: ClassVar[tuple[float, float]] = (0.3, 1.5)

    async def step(self) -> None:
        if not self.account.refresh and not await self.sign_in():
            return
        token, chance = self.account.refresh, self.random.random()
        if chance < 0.25:
            await self.refresh(token, abandon_after=self.random.uniform(0.001, 0.02))
            call = await self._until_answered(token)
        elif chance < 0.4:
            calls = await asyncio.gather(self._until_answered(token), self._until_answered(token))
            call = next((each for each in calls if each.done), calls[0])
        else:
            call = await self._until_answered(token)
        if call.done:
            self.account.access = self._tokens[call.number][0]
            self.account.refresh = self._tokens.pop(call.number)[1]
            self._tokens.clear()
            await self.use(self.account.access)
        elif call.settled or self.rounds % 200 == 0:
            self.account.refresh = ""

    async def prepare(self) -> None:
        await super().prepare()
        self._tokens: dict[int, tuple[str, str]] = {}

    async def _until_answered(self, token: str) -> Call:
        while True:
            call = await self.refresh(token)
            if call.done:
                tokens = self.raw.json()
                self._tokens[call.number] = tokens["access_token"], tokens["refresh_token"]
            if call.settled or self.gives_up:
                return call
            await asyncio.sleep(self.random.uniform(0.15, 0.5))


class Thief(SessionClient):
    """Uses a refresh token again when its grace is over: that must end the session for everyone."""

    kind: ClassVar[str] = "thief"
    steady: ClassVar[bool] = False
    pause: ClassVar[tuple[float, float]] = (1.0, 2.0)

    async def step(self) -> None:
        if not await self.sign_in():
            return
        stolen = self.account.refresh
        call = await self.refresh(stolen)
        if not call.done:
            return
        tokens = self.raw.json()
        await self.wait(STOLEN_AFTER_SECONDS)
        if self.load.ending.is_set():
            return
        if (await self.refresh(stolen)).settled:
            await self.refresh(tokens["refresh_token"])
            await asyncio.sleep(1.1)
            await self.use(tokens["access_token"])
