"""The Location of what a POST has made."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request, Response


async def get_located(request: Request, response: Response) -> Callable[[int], None]:
    """A function that notes where the new resource is: below the collection that was posted to."""

    def located(resource_id: int) -> None:
        response.headers["Location"] = f"{request.scope['path']}/{resource_id}"

    return located


Located = Annotated[Callable[[int], None], Depends(get_located)]
