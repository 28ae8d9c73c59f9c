"""The audit log: an append-only record of sign-ins, credential changes, administrative acts and orders."""

from service.audit.repository import ENTRIES, ENTRY
from service.audit.service import entries, keep_addresses, record, record_each

__all__ = ["ENTRIES", "ENTRY", "entries", "keep_addresses", "record", "record_each"]
