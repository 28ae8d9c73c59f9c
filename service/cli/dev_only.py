"""Imports of `service.dev`, which the production image is without."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import CommandError


@contextmanager
def required(what: str) -> Iterator[None]:
    """Around an import of what only development has. Raises CommandError, which names `what` needs it."""
    try:
        yield
    except ImportError as fault:
        if fault.name is None or not f"{fault.name}.".startswith("service.dev."):
            raise
        raise CommandError(f"{what} needs service/dev, which is not in the production image.") from None
