"""A flame graph as SVG: stacks from the bottom up, as wide as their share, coloured by layer."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Final

WIDTH: Final = 1200
HEIGHT: Final = 16
LEFT: Final = 10
TOP: Final = 60
#: Narrower than this a frame cannot be seen.
NARROWEST: Final = 0.6
#: Of 11 pixels, in most fonts.
CHARACTER: Final = 6.3
FONT: Final = 'font-family="Verdana, sans-serif" font-size="11"'
STYLE: Final = "<style>g:hover rect{stroke:#222}</style>"

Path = tuple[str, ...]


class Frame:
    def __init__(self, path: Path) -> None:
        self.name, self.path = path[-1] if path else "all", path
        self.spent = 0
        self.below: dict[str, Frame] = {}

    def add(self, names: list[str], spent: int) -> None:
        self.spent += spent
        frame = self
        for name in names:
            frame = frame.below.setdefault(name, Frame((*frame.path, name)))
            frame.spent += spent


def draw(
    title: str, stacks: Mapping[str, int], colour: Callable[[Path], str], legend: Mapping[str, str]
) -> str:
    """Of folded stacks: what was counted by `a;b;c`."""
    root = Frame(())
    for stack, spent in stacks.items():
        root.add(stack.split(";"), spent)
    scale = WIDTH / max(root.spent, 1)
    bottom = TOP + _visible(root, scale) * HEIGHT
    shapes: list[str] = []

    def place(frame: Frame, left: float, level: int) -> None:
        width = frame.spent * scale
        if width < NARROWEST:
            return
        shapes.append(_shape(frame, root.spent, (left, bottom - (level + 1) * HEIGHT, width), colour))
        for each in sorted(frame.below.values(), key=lambda each: each.name):
            place(each, left, level + 1)
            left += each.spent * scale

    place(root, LEFT, 0)
    size = f"0 0 {WIDTH + 2 * LEFT} {bottom + 10}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {FONT}>'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    heading = f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>'
    return "\n".join([head, STYLE, paper, heading, *_legend(legend), *shapes, "</svg>\n"])


def _shape(frame: Frame, total: int, box: tuple[float, float, float], colour: Callable[[Path], str]) -> str:
    left, top, width = box
    hint = f"{frame.name} ({frame.spent / total:.1%})"
    letters = int((width - 4) / CHARACTER)
    text = frame.name if len(frame.name) <= letters else frame.name[: letters - 1] + "…"
    label = f'<text x="{left + 2:.1f}" y="{top + 12}">{escape(text)}</text>' if letters > 2 else ""
    size = f'x="{left:.1f}" y="{top}" width="{width:.1f}" height="{HEIGHT - 1}"'
    return f'<g><title>{escape(hint)}</title><rect {size} fill="{colour(frame.path)}"/>{label}</g>'


def _visible(frame: Frame, scale: float) -> int:
    """How many levels of it are wide enough to be seen."""
    if frame.spent * scale < NARROWEST:
        return 0
    return 1 + max((_visible(each, scale) for each in frame.below.values()), default=0)


def _legend(legend: Mapping[str, str]) -> list[str]:
    shapes, left = [], LEFT
    for name, fill in legend.items():
        shapes.append(f'<rect x="{left}" y="34" width="10" height="10" fill="{fill}"/>')
        shapes.append(f'<text x="{left + 14}" y="43" font-size="9">{escape(name)}</text>')
        left += 24 + int(len(name) * 5.2)
    return shapes
