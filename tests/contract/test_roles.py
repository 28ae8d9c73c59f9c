"""The page on roles says what each scope opens: what the table of routes says."""

import re
from pathlib import Path
from typing import Final

from service.identity.dependencies import OPENS
from service.identity.models import KEY_SCOPES, SCOPES
from tests.contract.routes import ROUTES
from tests.helpers.client import V1

PAGE: Final = Path("docs/api/roles.md")
ROW: Final = re.compile(r"^\| `([a-z]+:[a-z]+)` \| (yes|) ?\| (.+) \|$", re.MULTILINE)


def test_the_page_has_each_scope_with_its_operations() -> None:
    rows = ROW.findall(PAGE.read_text())
    written = {scope: (marked == "yes", set(re.findall("`([^`]+)`", cell))) for scope, marked, cell in rows}
    opened = {
        scope: {
            f"{route.method} {route.template.removeprefix(V1)}" for route in ROUTES if scope in route.staff
        }
        for scope in SCOPES
    }
    assert written == {scope: (scope in KEY_SCOPES, opened[scope]) for scope in SCOPES}


def test_the_document_explains_each_scope() -> None:
    assert list(OPENS) == list(SCOPES)


def test_each_scope_opens_something() -> None:
    assert {scope for route in ROUTES for scope in route.staff} == set(SCOPES)
