"""Ask a running service all the time while it is rolled out, and count what did not go well.

    python tools/rollout_load http://HOST:PORT [--seconds 60] [--clients 8] [--pause 0.02] [--outages]

Half of the clients keep their connections, the others connect anew for each request. Each has registered,
and goes round: a list from memory, its profile from the database, and a change of it, which is a
transaction. Where ADMIN_EMAIL and ADMIN_PASSWORD are in the environment, that administrator adds an item
first, and each client also orders it and cancels the order, with an idempotency key each. What had no
response is sent again with its key; in the end every order must be there exactly once, all of them
cancelled, and the stock as it was.

It ends after its time or on SIGTERM, deletes the accounts, and exits 1 if a single request did not get the
response that it should, or an order is missing, doubled or left open. With --outages requests may fail (503,
500 or no response) and are counted; orders must come out right all the same. The last line is the result in
JSON. The service must admit that much: RATE_LIMIT_DEFAULT=1000000/minute, RATE_LIMIT_REGISTER and
RATE_LIMIT_SIGN_IN=1000/minute, CANCELLED_ORDERS_LIMIT=1000000.
"""

import argparse
import asyncio
import os
import signal
import sys
import time

from clients import Client, Shop
from counts import Counts

#: Access tokens last ten minutes.
SIGN_IN_SECONDS = 300.0


async def load(arguments: argparse.Namespace) -> Counts:
    counts, stopped = Counts(outages=arguments.outages), asyncio.Event()
    shop = Shop(arguments.url, counts) if os.environ.get("ADMIN_EMAIL") else None
    if shop is not None:
        await shop.open()
    item_id = shop.item_id if shop is not None else None
    clients = [
        Client(arguments.url, counts, keeps=turn % 2 == 0, item_id=item_id)
        for turn in range(arguments.clients)
    ]
    for client in clients:
        await client.register()
    loop = asyncio.get_running_loop()
    loop.call_later(arguments.seconds, stopped.set)
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stopped.set)
    print(f"{len(clients)} clients are asking {arguments.url}", flush=True)
    counts.begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(arguments.pause, arguments.sign_in_seconds, stopped))
    for client in clients:
        await client.leave()
    if shop is not None:
        await shop.close()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between the rounds of a client")
    parser.add_argument(
        "--sign-in-seconds", type=float, default=SIGN_IN_SECONDS, help="seconds until a client signs in again"
    )
    parser.add_argument("--outages", action="store_true", help="requests may fail; orders must be right")
    counts = asyncio.run(load(parser.parse_args()))
    print(counts.summary(), flush=True)
    return 0 if counts.went_well else 1


if __name__ == "__main__":
    sys.exit(main())
