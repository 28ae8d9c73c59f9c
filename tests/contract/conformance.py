"""Holds an answer against the OpenAPI document: status, headers, media type, and the JSON in it."""

import json
import re
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import httpx2
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator, ValidationError

from service.platform.http.field_errors import FAULT_CODES
from service.platform.http.openapi.components import resolved
from service.platform.http.problems import MEDIA_TYPE, OAUTH_PATHS


class Undocumented(AssertionError):
    """The application answers what its documentation does not say."""


class Document:
    def __init__(self, document: dict[str, Any]) -> None:
        self.paths = document["paths"]
        self.components = document["components"]
        self._components = json.dumps(self.components, sort_keys=True)
        # What is literal comes first, as /items/batch before /items/{item_id}.
        self._patterns = [
            (
                re.compile(
                    re.sub(r"\{\w+\}", "[^/]+", re.escape(path).replace(r"\{", "{").replace(r"\}", "}"))
                ),
                path,
            )
            for path in sorted(self.paths, key=lambda path: path.count("{"))
        ]

    def template(self, path: str) -> str | None:
        return next((template for regex, template in self._patterns if regex.fullmatch(path)), None)

    def check(self, answer: httpx2.Response) -> None:
        """Raises Undocumented."""
        method, path = answer.request.method, answer.request.url.path.removesuffix("/") or "/"
        template = self.template(path)
        operation = self.paths.get(template, {}).get("get" if method == "HEAD" else method.lower())
        where = f"{method} {template or path} {answer.status_code}"
        if operation is not None:
            documented = operation["responses"].get(str(answer.status_code))
            documented = documented and resolved(self.components, documented)
        else:
            documented = self._refusal(path) if answer.is_error else {"content": {"*": {}}}
        if documented is None:
            raise Undocumented(f"{where}: the status is not documented. {answer.text[:300]}")
        for name in documented.get("headers", {}):
            if self.components["headers"][name]["required"] and name not in answer.headers:
                raise Undocumented(f"{where}: the header {name} is missing.")
        if method != "HEAD":
            self._check_body(where, documented.get("content", {}), answer)

    def _refusal(self, path: str) -> dict[str, Any]:
        kind, media = ("OAuthError", "application/json") if path in OAUTH_PATHS else ("Problem", MEDIA_TYPE)
        return {"content": {media: {"schema": {"$ref": f"#/components/schemas/{kind}"}}}}

    def _check_body(self, where: str, contents: dict[str, Any], answer: httpx2.Response) -> None:
        media = answer.headers.get("content-type", "").partition(";")[0]
        if contents.keys() == {"*"}:
            return
        if media not in contents and (contents or answer.content):
            raise Undocumented(f"{where}: {media or 'nothing'} is not documented, but {sorted(contents)}.")
        if media.endswith("json"):
            try:
                _validator(json.dumps(contents[media]["schema"]), self._components).validate(answer.json())
            except ValidationError as fault:
                raise Undocumented(f"{where}: {fault.message} at {fault.instance_path}") from None
        if media == MEDIA_TYPE:
            self._check_members(where, contents[media]["schema"], answer.json())

    def _check_members(self, where: str, schema: dict[str, Any], problem: dict[str, Any]) -> None:
        """A client reads a member of a problem that its documentation names, and no other."""
        kinds = [resolved(self.components, each) for each in schema.get("anyOf", [schema])]
        known = {name for kind in kinds for name in kind["properties"]}
        codes = {fault["code"] for fault in problem.get("errors", ())}
        if unlisted := sorted(codes - FAULT_CODES.keys()):
            raise Undocumented(f"{where}: the codes of faults are not in the list: {unlisted}.")
        if unknown := sorted(problem.keys() - known):
            raise Undocumented(f"{where}: {problem['code']} has undocumented members: {unknown}.")


@cache
def _validator(schema: str, components: str) -> Draft202012Validator:
    whole = {**json.loads(schema), "components": json.loads(components)}
    return Draft202012Validator(whole, validate_formats=True)


_documents: WeakKeyDictionary[FastAPI, Document] = WeakKeyDictionary()


def document_of(app: FastAPI) -> Document:
    if app not in _documents:
        _documents[app] = Document(app.openapi())
    return _documents[app]
