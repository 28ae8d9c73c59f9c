"""Public clients work unchanged: what they are told is an address, and everything else they find out."""

from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from authlib.integrations import requests_client as authlib  # type: ignore[import-untyped]
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata  # type: ignore[import-untyped]
from oauthlib.oauth2 import InvalidGrantError, LegacyApplicationClient  # type: ignore[import-untyped]
from requests_oauthlib import OAuth2Session  # type: ignore[import-untyped]

from tests.helpers.client import assert_problem
from tests.helpers.waiting import wait_until
from tests.server.process import PASSWORD, Service, cloned_database, free_port, get, started

EMAIL = "maria@shop.example"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It knows its own address, as behind an ingress."""
    port = free_port()
    with (
        cloned_database() as url,
        started(
            tmp_path_factory.mktemp("oauth"),
            DATABASE_URL=url,
            PORT=port,
            PUBLIC_URL=f"http://127.0.0.1:{port}",
            RATE_LIMIT_SIGN_IN="1000/minute",
        ) as service,
    ):
        service.wait_until_up().register(EMAIL)
        yield service


@pytest.fixture(autouse=True)
def without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """In tests alone: both libraries refuse plain HTTP."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def metadata(service: Service) -> dict[str, Any]:
    answer = get(f"{service.url}/.well-known/oauth-authorization-server")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def profile(session: Any, service: Service) -> int:
    status: int = session.get(f"{service.url}/api/v1/users/profile").status_code
    return status


def is_void(service: Service, access_token: str) -> bool:
    with service.client(access_token) as client:
        answer = client.get("/users/profile")
    if answer.is_success:
        return False
    assert_problem(answer, 401, "invalid_token")
    return True


def test_authlib(service: Service, metadata: dict[str, Any]) -> None:
    with authlib.OAuth2Session("app", token_endpoint_auth_method="none") as session:
        first = dict(
            session.fetch_token(
                metadata["token_endpoint"], username=EMAIL, password=PASSWORD, grant_type="password"
            )
        )
        assert profile(session, service) == 200
        second = dict(session.refresh_token(metadata["token_endpoint"]))
        assert profile(session, service) == 200
        assert second["access_token"] != first["access_token"]
        assert second["refresh_token"] != first["refresh_token"]
        revoked = session.revoke_token(
            metadata["revocation_endpoint"],
            token=second["refresh_token"],
            token_type_hint="refresh_token",
        )
        assert (revoked.status_code, revoked.content) == (200, b"")
        for token in (first, second):
            wait_until(lambda token=token: is_void(service, token["access_token"]))  # type: ignore[misc]
        with pytest.raises(authlib.OAuthError) as refusal:
            session.refresh_token(metadata["token_endpoint"], refresh_token=second["refresh_token"])
        assert refusal.value.error == "invalid_grant"


def test_authlib_refreshes_by_itself(service: Service, metadata: dict[str, Any]) -> None:
    told: list[tuple[str, str]] = []

    def updated(token: dict[str, Any], refresh_token: str, **_: Any) -> None:
        told.append((refresh_token, token["refresh_token"]))

    with authlib.OAuth2Session(
        "app",
        token_endpoint_auth_method="none",
        token_endpoint=metadata["token_endpoint"],
        update_token=updated,
    ) as session:
        token = session.fetch_token(username=EMAIL, password=PASSWORD, grant_type="password")
        session.token = {**token, "expires_at": 1}
        assert profile(session, service) == 200
        assert told == [(token["refresh_token"], session.token["refresh_token"])]


def test_requests_oauthlib(service: Service, metadata: dict[str, Any]) -> None:
    client = LegacyApplicationClient("app")
    with OAuth2Session(client=client) as session:
        first = dict(session.fetch_token(metadata["token_endpoint"], username=EMAIL, password=PASSWORD))
        assert profile(session, service) == 200
        second = dict(session.refresh_token(metadata["token_endpoint"]))
        assert profile(session, service) == 200
        assert second["access_token"] != first["access_token"]
        assert second["refresh_token"] != first["refresh_token"]
        url, headers, body = client.prepare_token_revocation_request(
            metadata["revocation_endpoint"], second["access_token"], "access_token"
        )
        revoked = session.post(url, headers=headers, data=body)
        assert (revoked.status_code, revoked.content) == (200, b"")
        wait_until(lambda: is_void(service, second["access_token"]))
        with pytest.raises(InvalidGrantError):
            session.refresh_token(metadata["token_endpoint"], refresh_token=second["refresh_token"])


class TestVerifying:
    def test_pyjwt_from_the_well_known_routes_alone(self, service: Service, metadata: dict[str, Any]) -> None:
        access_token = service.sign_in(EMAIL).json()["access_token"]
        key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(access_token)
        options = {"require": ["iss", "sub", "aud", "client_id", "iat", "exp", "jti"]}
        claims = jwt.decode(
            access_token,
            key,
            algorithms=["ES256"],
            issuer=metadata["issuer"],
            audience="tradepost",
            options=options,  # type: ignore[arg-type]
        )
        with service.client(access_token) as client:
            assert claims["sub"] == str(client.get("/users/profile").json()["id"])
        assert jwt.get_unverified_header(access_token)["typ"] == "at+jwt"

    def test_a_forged_one_is_noticed(self, service: Service, metadata: dict[str, Any]) -> None:
        head, body, _ = service.sign_in(EMAIL).json()["access_token"].split(".")
        forged = f"{head}.{body}.{'A' * 86}"
        key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(forged)
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(forged, key, algorithms=["ES256"], audience="tradepost")

    def test_the_metadata_are_where_the_issuer_says(self, service: Service, metadata: dict[str, Any]) -> None:
        assert metadata["issuer"] == service.url
        with_tls = {
            name: value.replace("http:", "https:") if isinstance(value, str) else value
            for name, value in metadata.items()
        }
        # It knows no server without an authorization endpoint, and wants at least one type of response.
        assert with_tls.pop("response_types_supported") == []
        AuthorizationServerMetadata({**with_tls, "response_types_supported": ["none"]}).validate()
