"""Versions of resources, and the entity tags that are made of them (RFC 9110, section 8.8.3)."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import Field, TypeAdapter

from service.errors import IfMatchInvalid, PreconditionFailed
from service.platform.http.schemas import Out

#: What a 304 repeats of the response that it stands for (RFC 9110, section 15.4.5).
NOT_MODIFIED_HEADERS: Final = frozenset(
    {b"cache-control", b"content-location", b"etag", b"expires", b"next-updated-since", b"vary"}
)
#: Compressing proxies weaken tags. A weak one is taken for the strong one it was: what it compresses is
#: the same representation, and no client could change anything through such a proxy otherwise.
_TAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')

#: A list as If-Match takes it (RFC 9110, sections 5.6.1 and 13.1.1).
_TAGS: Final = re.compile(rf"[ \t]*(?:,[ \t]*)*{_TAG.pattern}(?:[ \t]*,(?:[ \t]*{_TAG.pattern})?)*[ \t]*")

#: What servers add to the tag of what they compress: Apache's mod_deflate and mod_brotli, Jetty's handler.
_CODED: Final = re.compile(r"(?:--?|;)(?:br|deflate|gzip|zstd)\Z")


@dataclass(frozen=True, slots=True)
class AllBut:
    """Every version but these."""

    versions: frozenset[int]

    def __contains__(self, version: int) -> bool:
        return version not in self.versions


#: The versions that a client wants to change; an empty set is none that there has ever been.
Versions = frozenset[int] | AllBut


Version = Annotated[
    int, Field(description="The number of the version. Every change increases it.", examples=[1])
]
#: A version that is shown in the tag alone.
HiddenVersion = Annotated[int, Field(exclude=True)]


class Versioned(Out):
    """A resource whose row counts every change of what is shown; `version` is the count, and its tag."""

    if TYPE_CHECKING:  # each declares it where it is to stand among its fields
        version: int
    #: Not where more is shown than the row counts.
    tagged: ClassVar[bool] = True


@cache
def _schema(model: type[Versioned]) -> str:
    """Of what a build shows: after an upgrade that shows more, old tags are not good any more."""
    schema = TypeAdapter(model).json_schema(mode="serialization")
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:8]


def tag_of(resource: Versioned) -> str:
    return tag_for(type(resource), resource.version)


def tag_for(model: type[Versioned], version: int) -> str:
    return f'"{version}-{_schema(model)}"'


def tag_example(model: type[Versioned]) -> str:
    return tag_for(model, 1)


def tags_in(header: str) -> frozenset[str]:
    """The tags that If-Match or If-None-Match lists, each in quotes, strong, and as made here."""
    return frozenset(f'"{_CODED.sub("", tag)}"' for tag in _TAG.findall(header))


def has_already(header: str, tag: str) -> bool:
    """Whether If-None-Match says that the client has what this is the tag of."""
    return header.strip() == "*" or tag in tags_in(header)


def versions_in(header: str, model: type[Versioned]) -> frozenset[int] | None:
    """The versions that If-Match lists: None for any, where it is `*`.

    Raises IfMatchInvalid for what is no list of tags: as a tag that does not match, a client would read again
    and again.
    """
    if header.strip() == "*":
        return None
    if not _TAGS.fullmatch(header):
        raise IfMatchInvalid(
            f"Send If-Match as {tag_example(model)}: the ETag of the version that you read, with its"
            " double quotes; or as * to change any version."
        )
    return _numbers(header, model)


def but_those_in(header: str, versions: Versions | None, model: type[Versioned]) -> Versions:
    """What is left of these versions by If-None-Match, which a client sends with a change too (RFC 9110,
    section 13.1.2): with `*` it wants to make what is not there yet.
    """
    if header.strip() == "*":
        return frozenset()
    known = _numbers(header, model)
    return versions - known if isinstance(versions, frozenset) else AllBut(known)


def _numbers(header: str, model: type[Versioned]) -> frozenset[int]:
    suffix = f'-{_schema(model)}"'
    numbers = (tag.removesuffix(suffix)[1:] for tag in tags_in(header) if tag.endswith(suffix))
    return frozenset(int(number) for number in numbers if re.fullmatch(r"[1-9]\d{0,18}", number, re.ASCII))


def require(expected: Versions | None, row: Any) -> None:
    """Refuse to change a row that is not as the client has read it. The caller holds the row's lock.

    Raises PreconditionFailed.
    """
    if expected is not None and row.version not in expected:
        raise PreconditionFailed
