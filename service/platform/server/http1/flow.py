"""When a connection is read, and how long its client may take for a response."""

import asyncio
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

#: For a client to take what does not fit into the kernel's buffers: a while, and as long as a bad connection
#: of a phone takes.
TAKE_SECONDS: Final = 30.0
SLOWEST_BYTES_A_SECOND: Final = 32 * 1024


class Flow(FlowControl):
    """Uvicorn's waits for ever for a client that takes nothing, with the response in memory."""

    #: While this holds nothing is read, whatever a request is waiting for.
    holding = False
    _timer: asyncio.TimerHandle | None = None

    def resume_reading(self) -> None:
        if not self.holding:
            super().resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.limit()

    def limit(self) -> None:
        """Break the connection off unless its client takes what the kernel has not taken yet.

        To close it would wait for the client as well.
        """
        unsent = self._transport.get_write_buffer_size()
        if unsent and self._timer is None:
            seconds = TAKE_SECONDS + unsent / SLOWEST_BYTES_A_SECOND
            self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
