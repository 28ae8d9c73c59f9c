"""What /readyz says before a process has been ready for the first time."""

from typing import Any

from service.platform.database.schema import required_revision

#: The revision that this build needs.
NOW = required_revision()[0]
WAIT = "wait for the migration, or run tradepost migrate"
NO_SCHEMA = f"the database has no schema yet, and this build needs {NOW}: {WAIT}"


def waiting(cause: str, **others: Any) -> dict[str, Any]:
    return {
        "status": "not_ready",
        "database": "up",
        "draining": False,
        "schema_revision": NOW,
        "required_revision": NOW,
        "listening": True,
        "cause": cause,
    } | others
