"""Which names of cities the OpenAPI document admits."""

import json
from collections.abc import Callable

import pytest
from jsonschema_rs import Draft202012Validator

from tests.helpers.application import document_text


@pytest.fixture(scope="module")
def admits() -> Callable[[str], bool]:
    [city, *_] = json.loads(document_text())["paths"]["/api/v1/weather/{city}"]["get"]["parameters"]
    return Draft202012Validator(city["schema"]).is_valid


class TestDocument:
    """A name that the document admits is not refused for its characters: clients are generated from it."""

    @pytest.mark.parametrize(
        "city", ["a\0b", "Ber\nlin", "B\t", "a\x7f", "a\x85b", "nil\u202erB", " ", "\u3000"]
    )
    def test_what_is_refused_is_not_admitted(self, admits: Callable[[str], bool], city: str) -> None:
        assert not admits(city)

    @pytest.mark.parametrize("city", ["Berlin", " Berlin", "São Paulo", "\u6771\u4eac", "x" * 100])
    def test_what_is_taken_is(self, admits: Callable[[str], bool], city: str) -> None:
        assert admits(city)
