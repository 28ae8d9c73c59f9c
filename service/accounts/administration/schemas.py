"""What an administrator sends about a user."""

from pydantic import MISSING, ConfigDict

from service.platform.http.metadata import EXAMPLE as METADATA
from service.platform.http.metadata import MetadataPatch
from service.platform.http.schemas import ExternalId, Flag, In


class UserPatch(In):
    """Changes of a user. Absent fields and keys stay; `null` removes what may be absent (RFC 7396)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"is_active": False},
                {"is_admin": True},
                {"external_id": "C-1042"},
                {"metadata": METADATA},
            ]
        }
    )

    is_active: Flag | MISSING = MISSING
    is_admin: Flag | MISSING = MISSING
    external_id: ExternalId | None = None
    metadata: MetadataPatch | None = None
