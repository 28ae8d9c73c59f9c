"""Accounts: registration, profiles, passwords, administration, sign-in, recovery and API keys, with the
emails about them.

Other packages use what is imported here, and nothing else of this one.
"""

from service.accounts.administration.repository import lock_administrators
from service.accounts.administration.service import ensure_administrator, require_other_administrator
from service.accounts.errors import EmailTaken, UserNotFound, WrongPassword
from service.accounts.passwords.schemas import CurrentPassword
from service.accounts.passwords.service import require_current
from service.accounts.recovery.repository import get_account
from service.accounts.recovery.repository import purge as purge_mail_tokens
from service.accounts.schemas import HOME, Address, AddressIn, ShipToIn, User
from service.accounts.sign_in.repository import purge as purge_sessions
from service.accounts.users.repository import LOCKED_CUSTOMER, get_customer, get_ids_by_email
from service.accounts.users.schemas import UserCreate
from service.accounts.users.service import create as create_user
from service.accounts.users.service import get_document as get_user_document
from service.accounts.users.service import require_may_read, require_visible

__all__ = (
    "HOME",
    "LOCKED_CUSTOMER",
    "Address",
    "AddressIn",
    "CurrentPassword",
    "EmailTaken",
    "ShipToIn",
    "User",
    "UserCreate",
    "UserNotFound",
    "WrongPassword",
    "create_user",
    "ensure_administrator",
    "get_account",
    "get_customer",
    "get_ids_by_email",
    "get_user_document",
    "lock_administrators",
    "purge_mail_tokens",
    "purge_sessions",
    "require_current",
    "require_may_read",
    "require_other_administrator",
    "require_visible",
)
