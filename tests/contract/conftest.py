"""What never ends is given an end, so that a client in memory gets to see it."""

from collections.abc import Iterator

import pytest

from service.container.api import Container
from service.identity import ACCESS_TOKEN_SECONDS


@pytest.fixture(scope="module")
def short_streams(container: Container) -> Iterator[None]:
    container.subscribers.longest_seconds = 0
    yield
    container.subscribers.longest_seconds = ACCESS_TOKEN_SECONDS
