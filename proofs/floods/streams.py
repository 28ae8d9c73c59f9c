"""A thousand streams of notifications at once."""

import asyncio
from collections import Counter
from typing import Final

from proofs.floods.bench import Bench
from proofs.floods.generator import request
from proofs.floods.sockets import Attempts, Raw
from tests.helpers.client import V1

STREAMS: Final = 1_000
#: As many as one customer may have.
EACH: Final = 10
AT_A_TIME: Final = 50


async def of_one(it: Bench, seconds: float) -> Attempts:
    return await _opened(it, [it.token] * STREAMS, seconds)


async def of_many(it: Bench, seconds: float) -> Attempts:
    tokens = [await it.register(f"reader{number}@shop.example") for number in range(STREAMS // EACH)]
    found = await _opened(it, tokens * EACH, seconds / 2)
    # Two more requests for each account: registering, and signing in.
    found.requests = found.count + 2 * len(tokens)
    return found


async def _opened(it: Bench, tokens: list[str], seconds: float) -> Attempts:
    """As many at a time as the worker takes on, and all of them open for so long."""
    found: list[Raw] = []
    opening = asyncio.Semaphore(AT_A_TIME)

    async def listen(token: str) -> str:
        connection = await Raw.open(it.port)
        found.append(connection)
        asked = request("GET", f"{V1}/notifications/stream", {"Authorization": f"Bearer {token}"})
        async with opening:
            await connection.send([asked])
            return await connection.status()

    try:
        answers = await asyncio.gather(*(listen(token) for token in tokens))
        await asyncio.sleep(seconds / 2)
    finally:
        for connection in found:
            connection.close()
    return Attempts(Counter(answers))
