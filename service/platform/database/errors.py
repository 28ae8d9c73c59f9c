"""What a fault of the database means: for its connection, for a retry, and to a client."""

import socket
from typing import Final

import structlog
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import Contention, FieldFault, Overloaded, ReadOnly, Unavailable, Unprocessable
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


def sqlstate(fault: BaseException) -> str:
    """The five letters of the SQLSTATE, or '' when the fault did not come from the server."""
    return getattr(getattr(fault, "orig", None), "sqlstate", None) or ""


def invalidate(context: ExceptionContext) -> None:
    """Take a connection out of the pool that the driver may take for a good one.

    Where it has gone silent, this one alone. When the server says that it ends or has been demoted, all that
    were made before go too.
    """
    fault = context.sqlalchemy_exception or context.original_exception
    if context.is_disconnect or not (is_lost(fault) or sqlstate(fault) in SPOILT):
        return
    context.is_disconnect = True
    context.invalidate_pool_on_disconnect = sqlstate(fault).startswith((READ_ONLY, *LOST))


def is_lost(fault: BaseException) -> bool:
    return (
        isinstance(fault, OSError | InterfaceError)
        # The driver's own: a connection that is being closed is still busy with its last command.
        or (isinstance(fault, InternalError) and not sqlstate(fault))
        or (isinstance(fault, DBAPIError) and fault.connection_invalidated)
        or sqlstate(fault).startswith(LOST)
    )


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
    error = _translate(fault)
    if isinstance(error, Unavailable):
        error.cause = cause_of(fault)
    return error


def _translate(fault: BaseException) -> BaseException:
    state = sqlstate(fault)
    if isinstance(fault, PoolTimeout):
        return Overloaded("Every database connection is in use. Try again shortly.")
    if state == OUT_OF_RANGE:
        detail = "An amount or a sum is too large to store: send smaller ones."
        too_large = FieldFault("", detail, "too_large")
        return Unprocessable(too_large.detail, errors=(too_large,))
    if state in CONTENTION:
        log.warning("database.contention_met", sqlstate=state)
        return Contention("Other requests are changing the same data. Try again shortly.")
    if state == READ_ONLY:
        log.warning("database.read_only_met")
        return ReadOnly()
    if is_lost(fault) or state.startswith(TRANSIENT) or (isinstance(fault, OperationalError) and not state):
        cause = cause_of(fault)
        log.warning("database.fault_met", sqlstate=state, fault=type(fault).__name__, cause=cause)
        met = "The database took too long." if state in TOO_SLOW else _UNREACHABLE
        return Unavailable(f"{met} Try again shortly.")
    return fault
