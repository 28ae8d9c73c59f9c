"""Registration and profiles as clients send them."""

from typing import Annotated, Any, Final

from pydantic import MISSING, ConfigDict, Field

from service.accounts.passwords.schemas import CurrentPassword, NewPassword
from service.accounts.schemas import HOME, AddressIn, AddressPatch, Email
from service.platform.http.schemas import Flag, In, Line, changed_elsewhere

BY_ADMINISTRATORS: Final = "This is not changed here: an administrator does it by PATCH /admin/users/{id}."


MARIA: Final[dict[str, Any]] = {
    "email": "maria@shop.example",
    "password": "Northwind1",
    "full_name": "Maria Anders",
}


class UserCreate(In):
    model_config = ConfigDict(json_schema_extra={"examples": [MARIA, {**MARIA, "address": HOME}]})

    email: Email
    password: NewPassword
    full_name: Line
    address: AddressIn | None = None
    is_active: Annotated[Flag, Field(description="Only administrators may send `false`.")] = True
    is_admin: Annotated[Any, *changed_elsewhere(BY_ADMINISTRATORS)] = MISSING


class ProfilePatch(In):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"full_name": "Maria Anders", "address": HOME},
                {"address": None},
                {"email": "anders@shop.example", "current_password": "Northwind1"},
            ]
        }
    )

    full_name: Line | MISSING = MISSING
    address: AddressPatch | None = None
    email: Annotated[
        Email | MISSING,
        Field(description="Requires `current_password`. It changes when the user confirms the new address."),
    ] = MISSING
    current_password: CurrentPassword | MISSING = MISSING
    password: Annotated[
        Any,
        *changed_elsewhere(
            "The password is not changed here: send `current_password` and `new_password` to"
            " POST /users/profile/password."
        ),
    ] = MISSING
    is_active: Annotated[Any, *changed_elsewhere(BY_ADMINISTRATORS)] = MISSING
    is_admin: Annotated[Any, *changed_elsewhere(BY_ADMINISTRATORS)] = MISSING
