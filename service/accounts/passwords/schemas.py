"""Passwords as clients send them."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from service.platform.config import password_policy
from service.platform.http.field_errors import invalid
from service.platform.http.schemas import NO_NUL, In, encodable


def _valid_new_password(password: SecretStr) -> SecretStr:
    """It is checked, and later hashed, in its normalised form."""
    text = password_policy.normalised(password.get_secret_value())
    if broken := password_policy.fault(text):
        raise invalid(broken.code, broken.demand)
    return SecretStr(text)


def _within_limits(password: SecretStr) -> SecretStr:
    """No password is longer or has a NUL: such a text is a wrong one, and is not hashed."""
    text = password.get_secret_value()
    # Some characters are longer in their normalised form. Older passwords were counted as they were sent.
    if min(len(text), len(password_policy.normalised(text))) > password_policy.MAX_LENGTH or "\0" in text:
        raise invalid("wrong_password", "This is not the current password.")
    return password


NewPassword = Annotated[
    SecretStr,
    AfterValidator(encodable),
    AfterValidator(_valid_new_password),
    Field(
        description="8 to 128 characters with at least one digit; not one of the most common passwords.",
        examples=["Northwind1"],
        json_schema_extra={
            "minLength": password_policy.MIN_LENGTH,
            "maxLength": password_policy.MAX_LENGTH,
            "pattern": r"^[^\x00]*[0-9][^\x00]*$",
        },
    ),
]


CurrentPassword = Annotated[
    SecretStr,
    AfterValidator(encodable),
    AfterValidator(_within_limits),
    Field(json_schema_extra={"maxLength": password_policy.MAX_LENGTH, "pattern": NO_NUL}),
]


class PasswordChange(In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"current_password": "Northwind1", "new_password": "Southwind2"}]}
    )

    current_password: CurrentPassword
    new_password: NewPassword
