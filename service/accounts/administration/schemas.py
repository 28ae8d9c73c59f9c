"""What an administrator sends about a user."""

from pydantic import MISSING, ConfigDict

from service.platform.http.schemas import Flag, In


class UserPatch(In):
    """Status and role of a user. Absent fields stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_active": False}, {"is_admin": True}]})

    is_active: Flag | MISSING = MISSING
    is_admin: Flag | MISSING = MISSING
