"""The token endpoint's request and answer (RFC 6749)."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from service.schemas.base import Out

SIGN_IN: Final[dict[str, Any]] = {
    "grant_type": "password",
    "username": "maria@shop.example",
    "password": "Northwind1",
}


class TokenRequest(BaseModel):
    """A form. Unknown parameters are ignored, as RFC 6749, section 3.2 asks."""

    model_config = ConfigDict(
        extra="ignore", hide_input_in_errors=True, json_schema_extra={"examples": [SIGN_IN]}
    )

    grant_type: Annotated[str | None, Field(max_length=100, examples=["password"])] = None
    username: Annotated[str | None, Field(max_length=320, description="The e-mail address.")] = None
    password: SecretStr | None = None
    client_id: Annotated[str | None, Field(max_length=100)] = None
    scope: Annotated[str | None, Field(max_length=1000)] = None


class Token(Out):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a kind of token, not one
    expires_in: Annotated[int, Field(description="Seconds.", examples=[600])]
