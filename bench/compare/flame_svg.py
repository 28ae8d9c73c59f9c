"""A flame graph as SVG: stacks from the bottom up, as wide as their share, coloured by layer."""

from collections.abc import Callable
from html import escape

WIDTH, HEIGHT, LEFT, TOP = 1200, 16, 10, 60
#: Narrower than this a frame cannot be seen.
NARROWEST = 0.6
CHARACTER = 6.3  # of 11 pixels, in most fonts


class Frame:
    def __init__(self, name: str, path: tuple[str, ...]) -> None:
        self.name, self.path = name, path
        self.samples = 0
        self.below: dict[str, Frame] = {}

    def add(self, names: list[str], samples: int) -> None:
        self.samples += samples
        if names:
            first, *rest = names
            self.below.setdefault(first, Frame(first, (*self.path, first))).add(rest, samples)


def draw(
    title: str, stacks: dict[str, int], colour: Callable[[tuple[str, ...]], str], legend: dict[str, str]
) -> str:
    root = Frame("all", ())
    for stack, samples in stacks.items():
        root.add(stack.split(";"), samples)
    scale = WIDTH / root.samples
    bottom = TOP + _visible(root, scale) * HEIGHT
    shapes: list[str] = []

    def place(frame: Frame, left: float, level: int) -> None:
        width = frame.samples * scale
        if width < NARROWEST:
            return
        y, fill = bottom - (level + 1) * HEIGHT, colour(frame.path)
        hint = f"{frame.name} ({frame.samples / root.samples:.1%})"
        letters = int((width - 4) / CHARACTER)
        text = frame.name if len(frame.name) <= letters else frame.name[: letters - 1] + "…"
        label = f'<text x="{left + 2:.1f}" y="{y + 12}">{escape(text)}</text>' if letters > 2 else ""
        box = f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{HEIGHT - 1}" fill="{fill}"/>'
        shapes.append(f"<g><title>{escape(hint)}</title>{box}{label}</g>")
        for each in sorted(frame.below.values(), key=lambda each: each.name):
            place(each, left, level + 1)
            left += each.samples * scale

    place(root, LEFT, 0)
    size, font = f"0 0 {WIDTH + 2 * LEFT} {bottom + 10}", 'font-family="Verdana, sans-serif" font-size="11"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font}>'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    heading = f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>'
    return "\n".join([head, paper, heading, *_legend(legend), *shapes, "</svg>\n"])


def _visible(frame: Frame, scale: float) -> int:
    """How many levels of it are wide enough to be seen."""
    if frame.samples * scale < NARROWEST:
        return 0
    return 1 + max((_visible(each, scale) for each in frame.below.values()), default=0)


def _legend(legend: dict[str, str]) -> list[str]:
    shapes, left = [], LEFT
    for name, fill in legend.items():
        shapes.append(f'<rect x="{left}" y="34" width="10" height="10" fill="{fill}"/>')
        shapes.append(f'<text x="{left + 14}" y="43" font-size="9">{escape(name)}</text>')
        left += 24 + int(len(name) * 5.2)
    return shapes
