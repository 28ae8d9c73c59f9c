"""`tradepost serve` whose renderer stays, however long it has nothing to do."""

import sys

from service.invoices import renderer_process


class RendererProcess(renderer_process.RendererProcess):
    def __init__(self) -> None:
        super().__init__(idle_seconds=3600.0)


if __name__ == "__main__":
    vars(renderer_process).update(RendererProcess=RendererProcess)

    from service.__main__ import main

    sys.exit(main(["serve"]))
