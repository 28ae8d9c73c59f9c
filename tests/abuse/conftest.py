"""What tests of the contract use, for tests that walk its routes too."""

from tests.contract.conftest import short_streams
from tests.contract.test_callers import weather

__all__ = ["short_streams", "weather"]
