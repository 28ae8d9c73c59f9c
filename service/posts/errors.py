"""Errors of posts."""

from service.errors import Conflict, NotFound


class PostNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("There is no such post.")


class TooManyPending(Conflict):
    code, title = "too_many_pending", "Too many pending posts"
