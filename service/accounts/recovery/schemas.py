"""Password reset and the verification of addresses."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from service.accounts.passwords.schemas import NewPassword
from service.accounts.schemas import Email
from service.platform.http.schemas import In, encodable

MailedToken = Annotated[
    SecretStr,
    AfterValidator(encodable),
    Field(
        min_length=1,
        max_length=200,
        description="The token from the email.",
        examples=["kG2l9q0Vd3mYt7Wc5xR8sB1nZ4pJ6hF0aEuTiLoXyQw"],
    ),
]


class ResetRequest(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "maria@shop.example"}]})

    email: Email


class Reset(In):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"token": "kG2l9q0Vd3mYt7Wc5xR8sB1nZ4pJ6hF0aEuTiLoXyQw", "new_password": "Southwind2"}
            ]
        }
    )

    token: MailedToken
    new_password: NewPassword


class Confirmation(In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"token": "kG2l9q0Vd3mYt7Wc5xR8sB1nZ4pJ6hF0aEuTiLoXyQw"}]}
    )

    token: MailedToken
