"""Tokens and sessions as clients see them (RFC 6749, 7009, 8414)."""

from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, BaseModel, ConfigDict, Field, SecretStr

from service.platform.http.schemas import Id, Instant, Out

#: RFC 6749, appendix A.
VISIBLE: Final = r"^[\x20-\x7e]*$"
SIGN_IN: Final[dict[str, Any]] = {
    "grant_type": "password",
    "username": "maria@shop.example",
    "password": "Northwind1",
}
REFRESH: Final[dict[str, Any]] = {
    "grant_type": "refresh_token",
    "refresh_token": "wq5hRvJ1cFZzqC9rOj2mHqzVn0mQm2eYcXW1m0u8sLk",
}


class TokenRequest(BaseModel):
    """A form. The service ignores unknown parameters (RFC 6749, section 3.2)."""

    model_config = ConfigDict(
        extra="ignore", hide_input_in_errors=True, json_schema_extra={"examples": [SIGN_IN, REFRESH]}
    )

    grant_type: Annotated[str | None, Field(max_length=100, examples=["password"])] = None
    username: Annotated[str | None, Field(max_length=320, description="The e-mail address.")] = None
    password: SecretStr | None = None
    refresh_token: SecretStr | None = None
    client_id: Annotated[str | None, Field(max_length=100, pattern=VISIBLE)] = None
    scope: Annotated[
        str | None,
        Field(max_length=1000, pattern=VISIBLE, description="Ignored: access tokens have no scopes."),
    ] = None


class Token(Out):
    access_token: Annotated[str, Field(repr=False)]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a kind of token, not one
    expires_in: Annotated[
        int, Field(description="The lifetime of the access token in seconds.", examples=[600])
    ]
    refresh_token: Annotated[
        str,
        Field(
            repr=False,
            description="Exchange it for the next access token. It can be used once.",
            examples=["wq5hRvJ1cFZ"],
        ),
    ]


class RevocationRequest(BaseModel):
    """A form (RFC 7009). The service ignores unknown parameters."""

    model_config = ConfigDict(
        extra="ignore",
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"token": REFRESH["refresh_token"]}]},
    )

    token: Annotated[SecretStr, Field(description="A refresh token or an access token.")]
    token_type_hint: Annotated[
        str | None, Field(description="Ignored: the service recognizes both kinds of tokens.")
    ] = None


class UserSession(Out):
    """An active session: one sign-in, with all tokens issued since."""

    id: Id
    created_at: Instant
    last_used_at: Annotated[Instant, Field(description="Time of the sign-in or of the last refresh.")]
    client: Annotated[
        str | None, Field(description="The `User-Agent` of the sign-in.", examples=["till/1.0"])
    ]
    current: Annotated[bool, Field(description="Whether it is the session of this request.")]


class AuthorizationServer(Out):
    """Metadata of RFC 8414."""

    issuer: Annotated[str, Field(description="The claim `iss` of every access token.")]
    token_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    response_types_supported: Annotated[
        list[str], Field(description="Empty: there is no authorization endpoint.")
    ]
    token_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    service_documentation: Annotated[
        str | MISSING, Field(description="Absent if the setting `DOCS_ENABLED` is off.")
    ] = MISSING
