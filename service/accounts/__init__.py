"""Accounts: registration, profile, signing in, recovery, API keys, and the emails about them."""

from service.accounts.recovery.repository import get_account

__all__ = ["get_account"]
