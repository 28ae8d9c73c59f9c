"""What tests of served processes share."""

from collections.abc import Iterator

import pytest

from tests.server.process import cloned_database


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A migrated one for the tests of a module."""
    with cloned_database() as url:
        yield url
