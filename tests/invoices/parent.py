"""A process with a renderer of its own, which renders what its argument says and then waits to be killed."""

import asyncio
import json
import sys

from service.invoices.queue import InvoiceQueue
from service.invoices.renderer_process import RendererProcess
from tests.invoices import stand_in
from tests.invoices.examples import invoice


async def main(buyer: str) -> None:
    queue = InvoiceQueue(RendererProcess("tests.invoices.stand_in", seconds=60.0), seconds=60.0)
    told = json.loads(await queue.render(invoice(buyer=stand_in.TELL), "user:1"))
    sys.stdout.write(f"{told['pid']}\n")
    sys.stdout.flush()
    if buyer:
        await queue.render(invoice(buyer=buyer), "user:1")
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
