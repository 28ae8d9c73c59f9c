"""What staff send about a user."""

from typing import Annotated, get_args

from pydantic import MISSING, AfterValidator, ConfigDict, Field

from service.accounts.schemas import each_once
from service.identity import Scope
from service.platform.http.metadata import EXAMPLE as METADATA
from service.platform.http.metadata import MetadataPatch
from service.platform.http.schemas import ExternalId, Flag, In

Scopes = Annotated[
    list[Scope],
    Field(
        max_length=len(get_args(Scope)),
        description="All that the user may beside what customers may, in place of what was granted before."
        " The API guide describes each scope.",
        json_schema_extra={"uniqueItems": True},
    ),
    AfterValidator(each_once),
]


class UserPatch(In):
    """Changes of a user. Absent fields and keys stay; `null` removes what may be absent (RFC 7396)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"is_active": False},
                {"is_admin": True},
                {"scopes": ["orders:write", "catalogue:read"]},
                {"external_id": "C-1042"},
                {"metadata": METADATA},
            ]
        }
    )

    is_active: Flag | MISSING = MISSING
    is_admin: Flag | MISSING = MISSING
    scopes: Scopes | MISSING = MISSING
    external_id: ExternalId | None = None
    metadata: MetadataPatch | None = None
