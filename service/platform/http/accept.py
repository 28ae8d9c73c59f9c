"""What a client accepts (RFC 9110, section 12.5.1)."""

import re
from typing import Final

#: The weight of a media type that is not wanted (section 12.4.2).
REFUSED: Final = re.compile(r"q=0(\.0{0,3})?")
#: Longer than any that is meant.
LONGEST_ACCEPT: Final = 4 * 1024


def acceptable(accept: str, offers: frozenset[str]) -> bool:
    """Whether an Accept header admits anything that is offered.

    An empty one has no preference, and one of thousands of choices is not looked at (the same section).
    """
    if not accept.strip() or len(accept) > LONGEST_ACCEPT:
        return True
    for choice in accept.split(","):
        media, _, parameters = choice.lower().partition(";")
        media = media.strip()
        if any(REFUSED.fullmatch(parameter.strip()) for parameter in parameters.split(";")):
            continue
        family, _, kind = media.partition("/")
        if media in ("*/*", "*") or media in offers:
            return True
        if kind == "*" and any(offer.startswith(family + "/") for offer in offers):
            return True
    return False
