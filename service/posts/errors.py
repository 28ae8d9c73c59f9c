"""Errors of posts."""

from service.errors import Conflict, NotFound


class PostNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("The post does not exist, or you may not see it. Check its id.")


class TooManyPending(Conflict):
    code, title = "too_many_pending", "Too many pending posts"
