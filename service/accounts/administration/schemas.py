"""What an administrator sends about a user."""

from pydantic import MISSING, ConfigDict

from service.platform.http.schemas import ExternalId, Flag, In


class UserPatch(In):
    """Changes of a user. Absent fields stay; `null` removes the external id (RFC 7396)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"is_active": False}, {"is_admin": True}, {"external_id": "C-1042"}]}
    )

    is_active: Flag | MISSING = MISSING
    is_admin: Flag | MISSING = MISSING
    external_id: ExternalId | None = None
