"""Typesetting: which font has a character, how wide a line is, and where it may break, in any script."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR: Final = "Sans"
BOLD: Final = "Sans-Bold"
EAST_ASIAN: Final = "EastAsian"
#: Stands for a character that no font has.
PLACEHOLDER: Final = "□"
ELLIPSIS: Final = "…"

_FONTS: Final = Path(__file__).with_name("fonts")
_FILES: Final = {
    REGULAR: "NotoSans-Regular.ttf",
    BOLD: "NotoSans-Bold.ttf",
    EAST_ASIAN: "wqy-microhei.ttc",
}

# Scripts that break between any two characters. Korean is not among them: it has spaces.
_WIDE = (
    r"[\u2e80-\u2fdf\u3041-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\uff01-\uff5a\uff66-\uff9f]"
)
# What may not begin a line in them, and what may not end one.
_CLOSING = r"[、。，．・：；？！」』）】〉》〕］｝ー々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ]"
_OPENING = r"[「『（【〈《〔［｛]"
#: Parts of a line that stay together as long as a line can hold them, with the spaces that follow.
_PIECE: Final = re.compile(
    rf"{_OPENING}*{_WIDE}{_CLOSING}* *|(?:(?!{_WIDE}|{_OPENING})[^ -])+-* *|-+ *| +|{_OPENING}+ *"
)


@dataclass(frozen=True, slots=True)
class Run:
    """Characters of one font."""

    font: str
    text: str

    @property
    def has_marks(self) -> bool:
        """Whether accents have to be put where their letters want them."""
        return any(unicodedata.combining(character) for character in self.text)


@cache
def _font(name: str) -> TTFont:
    font = TTFont(name, str(_FONTS / _FILES[name]))
    pdfmetrics.registerFont(font)
    return font


def load() -> None:
    """Read the fonts, which takes longer than an invoice."""
    for name in _FILES:
        _font(name)


@cache
def shown(character: str) -> str:
    """What is drawn for a character: itself, a space, a placeholder, or nothing for what has no look."""
    category = unicodedata.category(character)
    if category in ("Zs", "Zl", "Zp") or character == "\t":
        return "\N{NO-BREAK SPACE}" if character in "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}" else " "
    if category == "Cf" or "VARIATION SELECTOR" in unicodedata.name(character, ""):
        return ""
    # A font's private signs mean something else where the text was written.
    known = category != "Co" and (_has(REGULAR, character) or _has(EAST_ASIAN, character))
    return character if known else PLACEHOLDER


def plain(text: str) -> str:
    """One line of text as it is drawn: composed, and without a character that no font has."""
    drawn = "".join(map(shown, unicodedata.normalize("NFC", text)))
    return drawn.strip() or (PLACEHOLDER if text.strip() else "")


def runs(text: str, font: str = REGULAR) -> Iterator[Run]:
    """The text in the font where that has its characters."""
    for name, characters in groupby(text, lambda character: _font_of(character, font)):
        yield Run(name, "".join(characters))


def width(text: str, size: float, font: str = REGULAR) -> float:
    return sum(_advance(character, font) for character in text) * size


def wrapped(text: str, size: float, most: float, font: str = REGULAR) -> list[str]:
    """The lines of `plain` text, none of them wider than `most` unless it is a single character."""
    lines, line, used = [], "", 0.0
    for piece in _PIECE.findall(text):
        if used + width(piece.rstrip(), size, font) > most:
            if line:
                lines.append(line.rstrip())
            *full, line = _broken(piece, size, most, font)
            lines += full
            used = width(line, size, font)
        else:
            line += piece
            used += width(piece, size, font)
    return [*lines, line.rstrip()]


def _broken(piece: str, size: float, most: float, font: str) -> list[str]:
    """A word that no line can hold, in parts; accents stay with their letters."""
    parts, used = [""], 0.0
    for character in piece:
        wide = _advance(character, font) * size
        if parts[-1] and wide and character != " " and used + wide > most:
            parts.append("")
            used = 0.0
        parts[-1] += character
        used += wide
    return parts


@cache
def _has(font: str, character: str) -> bool:
    return ord(character) in _font(font).face.charToGlyph


@cache
def _font_of(character: str, font: str) -> str:
    return font if _has(font, character) else EAST_ASIAN


@cache
def _advance(character: str, font: str) -> float:
    """How far a character moves the next one, at size 1; accents do not."""
    return float(pdfmetrics.stringWidth(character, _font_of(character, font), 1))
