"""The first tests that anyone writes against such a service, with the synchronous test client."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service import __version__
from service.main import create_app
from service.platform.config import Settings

MARIA = {"email": "maria@shop.example", "password": "Northwind1", "full_name": "Maria Anders"}
HOME = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}


@pytest.fixture
def client(settings: Settings, sql: object) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as test_client:
        yield test_client


def test_health_is_healthy(client: TestClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "version": __version__})


def test_creating_a_user_returns_201_the_address_and_no_password(client: TestClient) -> None:
    answer = client.post("/api/v1/users", json={**MARIA, "address": HOME})
    assert answer.status_code == 201
    assert answer.json()["address"] == {**HOME, "name": None, "region": None, "postal_code": None}
    assert "password" not in answer.text
    assert MARIA["password"] not in answer.text


def test_an_anonymous_profile_is_401(client: TestClient) -> None:
    answer = client.get("/api/v1/users/profile")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
