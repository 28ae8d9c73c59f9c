"""The commands of docs/operations.md, which a proof runs as they stand there.

A block that is run has its name in a comment before it: `<!-- run: base-backup -->`.
"""

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs/operations.md"
_BLOCK: Final = re.compile(
    r"^<!-- run: (?P<name>[a-z-]+) -->\n+```(?:sh|sql)\n(?P<commands>.*?)^```$", re.DOTALL | re.MULTILINE
)


def blocks(text: str | None = None) -> dict[str, str]:
    """The commands of each block, by its name.

    Raises ValueError where a name is there twice, or has no block.
    """
    page = PAGE.read_text() if text is None else text
    found = [(match["name"], match["commands"]) for match in _BLOCK.finditer(page)]
    names = re.findall(r"<!-- run: (\S+) -->", page)
    if names != [name for name, _ in found] or len(set(names)) != len(names):
        raise ValueError(f"a block of {PAGE.name} has no commands, or a name is there twice: {names}")
    return dict(found)
