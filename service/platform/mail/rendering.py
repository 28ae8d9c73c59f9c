"""Renders emails from templates: `<kind>.txt` with the subject and the text, `<kind>.html` beside it.

A domain keeps those of its own in its folder `templates`; the layout that they extend is here. A value is
one line, whatever it was, and in HTML it is escaped: what a user has called an item or themself is neither
markup nor a header nor another paragraph.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from service.platform.config import Settings

#: What optional paragraphs that an email does not have leave between the others.
_GAPS: Final = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Message:
    kind: str
    to: str
    subject: str
    text: str
    html: str
    #: What stands before the @ of the Message-ID.
    message_id: str


class Renderer:
    """Renders the templates of these packages for one installation."""

    def __init__(self, settings: Settings, packages: Sequence[str]) -> None:
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader(name) for name in ("service.platform.mail", *packages)]),
            autoescape=select_autoescape(["html"]),
            # A value that is missing is a fault, not a gap in a customer's email.
            undefined=StrictUndefined,
            finalize=_finalized,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.globals |= {
            "shop": one_line(settings.seller.strip().partition("\n")[0]) or "the shop",
            "site": settings.public_url,
        }

    def render(self, kind: str, to: str, message_id: str, values: Mapping[str, Any]) -> Message:
        """`values` are what the templates of this kind name, beside `shop` and `site`."""
        plain, markup = (self._environment.get_template(f"{kind}.{form}") for form in ("txt", "html"))
        context = plain.new_context(dict(values))
        subject = one_line("".join(plain.blocks["subject"](context)))
        text, html = (template.render(values, subject=subject) for template in (plain, markup))
        return Message(kind, to, subject, _GAPS.sub("\n\n", text.strip()) + "\n", html, message_id)


def one_line(value: str) -> str:
    """Without line breaks, control characters, and those that reverse what follows them."""
    return " ".join("".join(each if each.isprintable() else " " for each in value).split())


def _finalized(value: object) -> object:
    # What the templates have put together themselves is markup already.
    return value if hasattr(value, "__html__") else one_line(str(value))
