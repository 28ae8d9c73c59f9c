"""What a fault of the database means: for its connection, for a retry, and to a client."""

import socket
from typing import Final

import asyncpg
import structlog
from asyncpg.exceptions import InternalClientError, OutdatedSchemaCacheError
from sqlalchemy.exc import DBAPIError

from service.errors import Contention, FieldFault, ReadOnly, Unavailable, Unprocessable
from service.platform.database.connections import cause_of

log = structlog.get_logger(__name__)

# Classes and codes of SQLSTATE: PostgreSQL manual, appendix A.
#: The connection is gone: connection exceptions, shutdown and start-up, an idle session, a transaction
#: that was idle or open for too long.
LOST: Final = ("08", "57P0", "25P03", "25P04")
#: What PostgreSQL answers to a write while it is a standby, such as a primary that has been demoted.
READ_ONLY: Final = "25006"
#: The connection is of no use, though it is there: what it leads to has been demoted, or a pooler has handed
#: on one that is in a failed transaction or has lost its prepared statements.
SPOILT: Final = (READ_ONLY, "25P02", "26000")
#: Statement time-out and lock time-out: the database is there, and took too long.
TOO_SLOW: Final = ("57014", "55P03")
#: What passes by itself: all these, a password or a database that is being changed, insufficient
#: resources, time-outs.
TRANSIENT: Final = (*LOST, *SPOILT, "28", "3D", "53", *TOO_SLOW)
#: Serialisation failure and deadlock: the transaction was rolled back so that another may go on.
CONTENTION: Final = ("40001", "40P01")
OUT_OF_RANGE: Final = "22003"
_UNREACHABLE: Final = "The service cannot reach its database at the moment."


#: What the driver raises: the server's errors, its own, and those of the network with time-outs.
FAULTS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, InternalClientError, OSError)
#: A migration has changed what a statement returns since it was prepared: prepared again, it works.
_OUTDATED: Final = (asyncpg.InvalidCachedStatementError, OutdatedSchemaCacheError)


def sqlstate(fault: BaseException | None) -> str:
    """The five letters of the SQLSTATE, or '' when the fault did not come from the server."""
    return getattr(getattr(fault, "orig", fault), "sqlstate", None) or ""


def is_unfit(fault: BaseException) -> bool:
    """Whether the driver refuses a value, before it sends anything."""
    return isinstance(fault, asyncpg.DataError) and getattr(fault, "severity", None) is None


def is_lost(fault: BaseException) -> bool:
    # The driver's own errors are also of a connection that is being closed, or busy with its last command.
    own = isinstance(fault, OSError | asyncpg.InterfaceError | InternalClientError)
    return (own and not isinstance(fault, _OUTDATED)) or sqlstate(fault).startswith(LOST)


def was_stale(fault: BaseException) -> bool:
    """Whether the connection was no good before it was used.

    A silent one is not among them: a request that has timed out on it does not wait again. Nor is a new one
    that could not be made: there was none to replace.
    """
    if isinstance(fault, TimeoutError | ConnectionRefusedError | socket.gaierror):
        return False
    return is_lost(fault) or sqlstate(fault) in SPOILT


def translate(fault: BaseException) -> BaseException:
    """The service error that a database fault means to a client; other faults come back as they are."""
    error = meaning_of(fault)
    if isinstance(error, Contention):
        log.warning("database.contention_met", sqlstate=sqlstate(fault))
    elif isinstance(error, ReadOnly):
        log.warning("database.read_only_met")
    elif isinstance(error, Unavailable):
        kind = type(fault).__name__
        log.warning("database.fault_met", sqlstate=sqlstate(fault), fault=kind, cause=error.cause)
    return error


def meaning_of(fault: BaseException) -> BaseException:
    """The same without a line in the log, where the caller writes one."""
    if isinstance(fault, DBAPIError) and fault.orig is not None:
        fault_of_driver: BaseException = fault.orig.__cause__ or fault.orig  # of a migration
        meaning = meaning_of(fault_of_driver)
        return fault if meaning is fault_of_driver else meaning
    error = _meaning_of(fault)
    if isinstance(error, Unavailable):
        error.cause = cause_of(fault)
    return error


def _meaning_of(fault: BaseException) -> BaseException:
    state = sqlstate(fault)
    if state == OUT_OF_RANGE:
        detail = "An amount or a sum is too large to store: send smaller ones."
        too_large = FieldFault("", detail, "too_large")
        return Unprocessable(too_large.detail, errors=(too_large,))
    if state in CONTENTION or isinstance(fault, _OUTDATED):
        return Contention("Other requests are changing the same data. Try again shortly.")
    if state == READ_ONLY:
        return ReadOnly()
    if is_lost(fault) or state.startswith(TRANSIENT):
        met = "The database took too long." if state in TOO_SLOW else _UNREACHABLE
        return Unavailable(f"{met} Try again shortly.")
    return fault
