"""The deletion of the caller's account."""

from pydantic import ConfigDict

from service.accounts import CurrentPassword
from service.platform.http.schemas import In


class AccountDeletion(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"current_password": "Northwind1"}]})

    current_password: CurrentPassword
