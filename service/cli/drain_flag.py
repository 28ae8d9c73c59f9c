"""The file that says "about to stop", which a container finds again when it was restarted in its pod."""

from service.errors import ConfigError
from service.platform.config import Settings


def remove(settings: Settings) -> None:
    """Begin without it: a container that was killed by its liveness probe got the flag to drain before, and
    the folder outlives it, so that its successor would drain for ever.
    """
    if settings.drain_file is None:
        return
    try:
        settings.drain_file.unlink(missing_ok=True)
    except OSError as fault:
        fault_line = (
            f"DRAIN_FILE: cannot be removed ({fault.strerror}), and every answer would send its client away"
        )
        raise ConfigError((fault_line,)) from None
