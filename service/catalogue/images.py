"""Images of an item: URLs with alternative text. The service stores and sends the URLs, never the images."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import from_json

from service.platform.http import text_validation
from service.platform.http.field_errors import invalid
from service.platform.http.schemas import In, Out, at_most

MAX_IMAGES: Final = 20
MAX_URL: Final = 2_000
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_CHARACTER: Final = "[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}"
#: RFC 3986 with https, and without credentials, fragments and characters that are not ASCII; nor with hosts
#: in brackets, for no pattern says which of them are addresses.
URL_PATTERN: Final = (
    rf"^https://{_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?"
    rf"(?:/(?:{_CHARACTER})*)?(?:\?(?:{_CHARACTER}|\?)*)?$"
)
_URL: Final = re.compile(URL_PATTERN)
EXAMPLE: Final = {"url": "https://img.shop.example/chai.jpg", "alt": "A box of Chai"}


def _well_formed(url: str) -> str:
    if _URL.fullmatch(url):
        return url
    if url.startswith("http://"):
        raise invalid("plain_http", "Send a URL that begins with https://.")
    raise invalid(
        "malformed",
        f"Send a URL such as {EXAMPLE['url']}, in ASCII, without user name, password and fragment.",
    )


class ImageIn(In):
    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_URL,
            description="An https URL without user name, password and fragment.",
            json_schema_extra={"pattern": URL_PATTERN, "format": "uri"},
            examples=[EXAMPLE["url"]],
        ),
        AfterValidator(_well_formed),
    ]
    alt: Annotated[
        str,
        StringConstraints(strip_whitespace=True, max_length=200),
        AfterValidator(text_validation.line_or_none),
        at_most(200),
        Field(
            description="The text in place of the image, for clients that do not show it. Empty for an image"
            " that adds nothing to the text.",
            json_schema_extra={"pattern": text_validation.LINE_OR_NONE},
            examples=[EXAMPLE["alt"]],
        ),
    ] = ""


class Image(Out):
    url: Annotated[str, Field(examples=[EXAMPLE["url"]], json_schema_extra={"format": "uri"})]
    alt: Annotated[str, Field(examples=[EXAMPLE["alt"]])]


ImagesIn = Annotated[list[ImageIn], Field(max_length=MAX_IMAGES, examples=[[EXAMPLE]])]
#: From a row, which has them as text of JSON.
Images = Annotated[
    list[Image],
    BeforeValidator(lambda stored: from_json(stored) if isinstance(stored, str) else stored),
    Field(description="Up to 20, in the order in which they are shown.", examples=[[EXAMPLE]]),
]
