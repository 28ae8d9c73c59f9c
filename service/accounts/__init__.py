"""Accounts: registration, profiles, passwords, sign-in, recovery and API keys, and the emails about them.

Other packages use what is imported here, and nothing else of this one.
"""

from service.accounts.recovery.repository import get_account
from service.accounts.repository import get_customer, get_ids_by_email, get_password_hash, lock_administrators
from service.accounts.schemas import HOME, Address, AddressIn, CurrentPassword, ShipToIn, User, UserCreate
from service.accounts.service import UserNotFound, ensure_administrator, require_may_read, require_visible
from service.accounts.service import create as create_user
from service.accounts.service import get as get_user

__all__ = (
    "HOME",
    "Address",
    "AddressIn",
    "CurrentPassword",
    "ShipToIn",
    "User",
    "UserCreate",
    "UserNotFound",
    "create_user",
    "ensure_administrator",
    "get_account",
    "get_customer",
    "get_ids_by_email",
    "get_password_hash",
    "get_user",
    "lock_administrators",
    "require_may_read",
    "require_visible",
)
