"""The deletion of one's own account."""

from pydantic import ConfigDict

from service.schemas.base import In
from service.schemas.users import CurrentPassword


class AccountDeletion(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"current_password": "Northwind1"}]})

    current_password: CurrentPassword
