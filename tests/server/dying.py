"""The application that ships, in a process that dies between COMMIT and answer when it is asked to."""

import os
import signal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.main import create_app

HEADER = (b"x-die-before-the-answer", b"1")


def application() -> ASGIApp:
    app = create_app()

    async def dying(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unless_asked(message: Message) -> None:
            if message["type"] == "http.response.start" and HEADER in scope["headers"]:
                os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        await app(scope, receive, send_unless_asked)

    return dying
