"""Why a token request is refused (RFC 6749, section 5.2)."""

from typing import ClassVar, Literal

from service.errors import ServiceError


class InvalidGrant(ServiceError):
    """The detail is the same whatever was wrong: it must not reveal who has an account."""

    status, code, title = 400, "invalid_grant", "Invalid grant"


class WrongCredentials(InvalidGrant):
    """Committed: the audit log keeps which account was tried."""

    commit = True

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


class InvalidRefreshToken(InvalidGrant):
    outcome: ClassVar[Literal["refused", "reused"]] = "refused"

    def __init__(self) -> None:
        super().__init__("The refresh token is unknown, expired or used already. Sign in again.")


class ReusedRefreshToken(InvalidRefreshToken):
    """A refresh token was used again after its grace: it is stolen. Committed: the session has ended."""

    outcome = "reused"
    commit = True


class UnsupportedGrantType(ServiceError):
    status, code, title = 400, "unsupported_grant_type", "Unsupported grant type"


class InvalidTokenRequest(ServiceError):
    status, code, title = 400, "invalid_request", "Invalid token request"
