"""Why a token request is refused (RFC 6749, section 5.2)."""

from typing import ClassVar, Literal

from service.errors import ServiceError


class InvalidGrant(ServiceError):
    """RFC 6749, section 5.2. The same words whatever was wrong: they must not tell who has an account."""

    status, code, title = 400, "invalid_grant", "Invalid grant"


class WrongCredentials(InvalidGrant):
    """Committed: the audit log keeps who was tried."""

    commit = True

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


class InvalidRefreshToken(InvalidGrant):
    outcome: ClassVar[Literal["refused", "reused"]] = "refused"

    def __init__(self) -> None:
        super().__init__("The refresh token is not good, or no longer. Sign in again.")


class ReusedRefreshToken(InvalidRefreshToken):
    """Somebody has a token that another has used before: theft. Committed: the session has ended."""

    outcome = "reused"
    commit = True


class UnsupportedGrantType(ServiceError):
    status, code, title = 400, "unsupported_grant_type", "Unsupported grant type"


class InvalidTokenRequest(ServiceError):
    status, code, title = 400, "invalid_request", "Invalid token request"
