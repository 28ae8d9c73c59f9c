"""Errors of accounts. Those of the token endpoint, which OAuth 2.0 words, are in `sign_in/errors.py`."""

from service.errors import Conflict, FieldFault, NotFound, Unprocessable


class UserNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("The user does not exist, or you may not see it. Check the id.")


class ApiKeyNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("No API key has this id. Check the id.")


class EmailTaken(Conflict):
    code, title = "email_taken", "E-mail address already registered"


class LastAdministrator(Conflict):
    code, title = "last_administrator", "The last administrator must stay"


class ApiKeyRevoked(Conflict):
    code, title = "api_key_revoked", "The API key is revoked"


class WrongPassword(Unprocessable):
    def __init__(self) -> None:
        fault = FieldFault("/current_password", "This is not the current password.", "wrong_password")
        super().__init__(fault.detail, errors=(fault,))
