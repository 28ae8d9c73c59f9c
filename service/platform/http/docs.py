"""/docs, /redoc and /openapi.json, with every asset from this service: nothing is loaded from a CDN.

The pages hold no inline script, so that their Content-Security-Policy need not allow any.
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none';"
    " base-uri 'none'"
)
#: ReDoc shows its maker's logo from the maker's server, which the policy refuses: a console error.
REDOC_LOGO: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"

PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tradepost</title>
<link rel="icon" href="/docs/assets/favicon.png">
{style}
</head>
<body>
<div id="docs"></div>
<script src="/docs/assets/{library}"></script>
<script src="/docs/assets/{start}"></script>
</body>
</html>
"""
SWAGGER_PAGE: Final = PAGE.format(
    style='<link rel="stylesheet" href="/docs/assets/swagger-ui.css">',
    library="swagger-ui-bundle.js",
    start="start-swagger.js",
)
REDOC_PAGE: Final = PAGE.format(
    style="<style>body { margin: 0 }</style>", library="redoc.standalone.js", start="start-redoc.js"
)
SCRIPTS: Final = {
    "start-swagger.js": b"""SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#docs", deepLinking: true, persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
""",
    "start-redoc.js": b'Redoc.init("/openapi.json", {}, document.getElementById("docs"));\n',
}
TYPES: Final = {"js": "text/javascript", "css": "text/css", "png": "image/png"}
LIBRARY_FILES: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png")


def _asset(name: str) -> bytes:
    if name in SCRIPTS:
        return SCRIPTS[name]
    content = files("fastapi_offline").joinpath("static", name).read_bytes()
    return content.replace(REDOC_LOGO, b"/docs/assets/favicon.png")


def install(app: FastAPI) -> None:
    """Add the pages. Their routes are in no document: they are for people."""
    assets: dict[str, bytes] = {}
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(SWAGGER_PAGE, headers=headers)

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return HTMLResponse(REDOC_PAGE, headers=headers)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        # Written once: it takes 5 ms, and any client may ask for it.
        if "openapi.json" not in assets:
            assets["openapi.json"] = bytes(JSONResponse(request.app.openapi()).body)
        headers = {"Cache-Control": "no-cache"}
        return Response(assets["openapi.json"], media_type="application/json", headers=headers)

    for name in (*LIBRARY_FILES, *SCRIPTS):
        app.add_api_route(f"/docs/assets/{name}", _serve(name, assets), include_in_schema=False)


def _serve(name: str, assets: dict[str, bytes]) -> Callable[[], Awaitable[Response]]:
    async def asset() -> Response:
        if name not in assets:
            assets[name] = _asset(name)
        kind = TYPES[name.rpartition(".")[2]]
        return Response(assets[name], media_type=kind, headers={"Cache-Control": "public, max-age=3600"})

    return asset
