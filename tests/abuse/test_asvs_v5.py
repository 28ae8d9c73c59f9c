"""ASVS 5.0, V5: files."""

import pytest

from tests.abuse.source import calls
from tests.helpers.client import Api, assert_problem

#: What reads or writes a file by its path.
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "FileResponse", "StaticFiles"}


@pytest.mark.parametrize(
    "path",
    [
        "/docs/assets/../../service/main.py",
        "/docs/assets/..%2f..%2fmain.py",
        "/docs/assets/%2e%2e/%2e%2e/etc/passwd",
        "/docs/assets/..%5c..%5cmain.py",
        "/docs/assets/....//....//etc/passwd",
        "/docs/assets/%2fetc%2fpasswd",
        "/docs/assets/swagger-ui.css%00.txt",
        "/docs/assets/",
        "/docs/../.env",
    ],
)
async def test_v5_3_2_no_path_leads_out_of_the_assets(api: Api, path: str) -> None:
    """Each asset is a route of its own: none is looked for by a name of the client's."""
    assert_problem(await api.root(path), 404, "not_found")


def test_v5_3_2_no_path_of_a_file_is_made_of_input() -> None:
    """Domains touch no file but the renderer's own, and the platform those of settings and packages."""
    places = {place for place, name, _ in calls() if name.rpartition(".")[2] in FILES}
    of_domains = {place for place in places if not place.startswith(("service/platform/", "service/cli/"))}
    assert of_domains == {
        "service/invoices/renderer.py",
        "service/invoices/renderer_process.py",
        "service/notifications/streams/dependencies.py",  # opens a stream
    }
    of_requests = {place for place in places if place.startswith("service/platform/http/")}
    assert of_requests == {"service/platform/http/docs.py"}
