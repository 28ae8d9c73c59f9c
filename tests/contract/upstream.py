"""A weather service that answers, but for one city, for the route that asks one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.helpers.http_server import serving

PLACE = {"name": "Berlin", "country_code": "DE", "latitude": 52.5, "longitude": 13.4}
CURRENT = {"time": "2026-11-22T10:00", "temperature_2m": 4, "precipitation": 0.2}
CURRENT |= {"weather_code": 61, "wind_speed_10m": 11.5}

#: Of this city the weather is not to be had.
NOBODY_KNOWS = "Atlantis"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = {"results": [PLACE]} if self.path.startswith("/search") else {"current": CURRENT}
        content = json.dumps(found).encode()
        self.send_response(500 if NOBODY_KNOWS in self.path else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


@contextmanager
def weather_upstream() -> Iterator[str]:
    """Its base URL; the geocoder is at /search, the forecast at /forecast."""
    with serving(_Handler) as url:
        yield url
