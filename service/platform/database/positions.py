"""Positions in a stream of changes: opaque texts that clients keep, and come back with.

A position is good for one stream alone, such as the orders of one customer: who sees more now has not seen
the changes so far, and starts anew. It has no signature: it opens nothing, and must outlive SECRET_KEY and a
restore. Its checksum refuses what was mistyped, cut off or taken from another stream.
"""

import base64
import binascii
import struct
import zlib
from typing import Final

from service.errors import ServiceError

#: Of every position.
LENGTH: Final = 16
_FORM: Final = struct.Struct(">Iq")


class PositionUnknown(ServiceError):
    """The position is not of this stream, or the changes since then are not known any more."""

    status, code, title = 410, "position_unknown", "Position unknown"


def encode(stream: str, place: int) -> str:
    return base64.urlsafe_b64encode(_FORM.pack(_checksum(stream, place), place)).decode()


def decode(stream: str, position: str, *, anew: str) -> int:
    """The place. Raises PositionUnknown; `anew` tells the client how to start anew, as a sentence."""
    try:
        checksum, place = _FORM.unpack(base64.b64decode(position.encode(), b"-_", validate=True))
    except (binascii.Error, struct.error, UnicodeEncodeError) as fault:
        raise unknown(anew) from fault
    if checksum != _checksum(stream, place):
        raise unknown(anew)
    return int(place)


def unknown(anew: str) -> PositionUnknown:
    return PositionUnknown(f"The position is not known here, or not any more. {anew}")


def _checksum(stream: str, place: int) -> int:
    return zlib.crc32(f"{stream}\0{place}".encode())
