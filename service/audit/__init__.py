"""The audit log: an append-only record of sign-ins, credential changes, administrative acts and orders."""

from service.audit.service import keep_addresses, record, record_each

__all__ = ["keep_addresses", "record", "record_each"]
