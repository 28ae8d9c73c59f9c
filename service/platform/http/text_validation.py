"""Which characters a text may have, as patterns of JSON Schema and as checks that refuse the same.

Text of one line has none that break it, none that control a terminal or turn around what follows them, and
shows something. Joiners are part of words (Persian) and of emoji, and marks of direction are harmless: they
are taken beside other characters. Text of many lines may set its direction, but not overrule that of letters.
"""

import re
from typing import Final

from service.platform.http.field_errors import invalid

#: What Unicode calls White_Space: it is left out at both ends of a line.
SPACES: Final = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
#: Noncharacters. Beyond U+FFFF as they are: the dialects of patterns have no escape for them in common.
_NEAR_NO_CHARACTERS: Final = r"\ufdd0-\ufdef\ufffe\uffff"
_FAR_NO_CHARACTERS: Final = "".join(
    chr(plane << 16 | last) for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)
)
#: C0, DEL, C1, the separators of lines and paragraphs, and the controls of direction.
_NOT_NEAR_IN_A_LINE: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069" + _NEAR_NO_CHARACTERS
_NOT_IN_A_LINE: Final = _NOT_NEAR_IN_A_LINE + _FAR_NO_CHARACTERS
#: C0 and C1 but for tabs and ends of lines, and overrides of direction.
_NOT_NEAR_IN_PROSE: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e" + _NEAR_NO_CHARACTERS
_NOT_IN_PROSE: Final = _NOT_NEAR_IN_PROSE + _FAR_NO_CHARACTERS
#: What shows nothing: spaces, all that Unicode says to ignore (Default_Ignorable_Code_Point, with the fillers
#: of Hangul), annotations, and the blank of Braille.
_INVISIBLE: Final = (
    r" \xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u202f\u205f-\u206f\u2800"
    r"\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
#: Beyond U+FFFF; not in the pattern, where a range of them has no form in common.
_FAR_INVISIBLE: Final = (
    "\U00013430-\U00013440\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)

_LINE: Final = rf"[^{_NOT_IN_A_LINE}]*[^{_NOT_IN_A_LINE}{_INVISIBLE}][^{_NOT_IN_A_LINE}]*"
#: For the documentation, in the dialect of JSON Schema.
LINE: Final = rf"^[{SPACES}]*{_LINE}[{SPACES}]*$"
LINE_OR_NONE: Final = rf"^[{SPACES}]*({_LINE}[{SPACES}]*)?$"
#: A line as it was sent, which may show nothing.
RAW_LINE: Final = rf"^[^{_NOT_IN_A_LINE}]*[^{_NOT_IN_A_LINE}{SPACES}][^{_NOT_IN_A_LINE}]*$"
PROSE: Final = rf"^[^{_NOT_IN_PROSE}]*$"
PROSE_THAT_SHOWS: Final = rf"^[^{_NOT_IN_PROSE}]*[^{_NOT_IN_A_LINE}{_INVISIBLE}][^{_NOT_IN_PROSE}]*$"

NOT_A_LINE: Final = (
    "Control characters are not allowed, nor are line breaks and what turns the direction of text: leave"
    " them out."
)
NOT_PROSE: Final = (
    "Control characters are not allowed, but for tabs and line breaks, nor are overrides of the direction of"
    " text: leave them out."
)
#: Half of a surrogate pair is no character at all, and has no form in a pattern.
_breaks_a_line = re.compile(rf"[{_NOT_NEAR_IN_A_LINE}\ud800-\udfff]")
_breaks_prose = re.compile(f"[{_NOT_NEAR_IN_PROSE}]")
#: Looked for apart: a set with characters beyond U+FFFF is gone through for each character of a text, which
#: takes three times as long (a batch of items has a million).
_far = re.compile("[\U00010000-\U0010ffff]")
_breaks_far = re.compile(f"[{_FAR_NO_CHARACTERS}]")
_shows = re.compile(f"[^{_NOT_IN_A_LINE}{_INVISIBLE}{_FAR_INVISIBLE}]")


def is_line(text: str) -> bool:
    return not _breaks_a_line.search(text) and not _has_far_no_character(text)


def _has_far_no_character(text: str) -> bool:
    return bool(not text.isascii() and _far.search(text) and _breaks_far.search(text))


def line(text: str) -> str:
    """Raises ValueError for what is no line that shows something."""
    if not is_line(text):
        raise invalid("forbidden_characters", NOT_A_LINE)
    return visible(text)


def visible(text: str) -> str:
    """Raises ValueError for text in which nothing is visible."""
    if not _shows.search(text):
        raise invalid("blank", "Text must not be blank: send at least one visible character.")
    return text


def line_or_none(text: str) -> str:
    return line(text) if text else text


def prose(text: str) -> str:
    """Raises ValueError for what no text of many lines has."""
    if _breaks_prose.search(text) or _has_far_no_character(text):
        raise invalid("forbidden_characters", NOT_PROSE)
    return text


def shown(text: str) -> str | None:
    """What others have written, made a line; None where nothing of it shows."""
    made = " ".join(_breaks_far.sub(" ", _breaks_a_line.sub(" ", text)).split())
    return made if _shows.search(made) else None
