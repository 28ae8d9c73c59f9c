"""Where spans go."""

from collections.abc import Iterator

import pytest

from tests.helpers.collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()
