"""What clients that poll learn of what is gone."""

from service.platform.http.schemas import Id, Instant, Out


class Removed(Out):
    id: Id
    removed_at: Instant
