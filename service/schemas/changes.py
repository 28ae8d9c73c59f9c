"""What clients that poll learn of what is gone."""

from service.schemas.base import Id, Instant, Out


class Removed(Out):
    id: Id
    removed_at: Instant
