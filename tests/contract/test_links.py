"""Every link between the repository's documents leads somewhere."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from tests.contract.test_repository import ROOT, files

FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:")


def links(text: str) -> list[str]:
    return LINK.findall(SPAN.sub("``", FENCE.sub("", text)))


@cache
def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", path.read_text())):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


def broken(file: Path, link: str) -> bool:
    place, _, anchor = unquote(link).partition("#")
    target = (file.parent / place).resolve() if place else file
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


def test_every_link_between_documents_leads_somewhere() -> None:
    found = {
        (str(file.relative_to(ROOT)), link)
        for file in files("*.md")
        for link in links(file.read_text())
        if not link.startswith(ELSEWHERE) and broken(file, link)
    }
    assert found == set()


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("# A title, with `code`\n\n[b](b.md) [t](#a-title-with-code) [u](#u) `[c](c.md)`\n")
    assert links(file.read_text()) == ["b.md", "#a-title-with-code", "#u"]
    assert [link for link in links(file.read_text()) if broken(file, link)] == ["b.md", "#u"]
