"""A customer with what other domains know of them."""

from typing import ClassVar

from service.accounts import User
from service.orders import Order


class UserWithAddress(User):
    """A user with the last 100 orders, newest first."""

    tagged: ClassVar[bool] = False
    orders: list[Order]
