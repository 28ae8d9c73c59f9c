"""The service keeps conventions that no linter knows, and each check finds the one line that breaks it."""

from collections.abc import Callable, Iterator

import pytest

from tests.contract.conventions import (
    ENTITIES,
    entities_outside_models,
    modules,
    private_words,
    request_state_by_string,
    texts,
)

Check = Callable[[str, str], Iterator[str]]
MODELS = "from service.orders.models import Order, OrderLine as Line\n"
PLANTED: list[tuple[Check, str]] = [
    (request_state_by_string, "request.scope['state']['who'] = 1"),
    (request_state_by_string, "found = scope.get('state', {}).get('who')"),
    (request_state_by_string, "scope.setdefault('state', {})"),
    (request_state_by_string, "request.state.who = 1"),
    (request_state_by_string, "print(self.request.state.who)"),
    (request_state_by_string, "scope['who'] = 1"),
    (entities_outside_models, MODELS + "rows = select(Order).where(Order.id == 1)"),
    (entities_outside_models, MODELS + "rows = select(Order.id, Line)"),
    (entities_outside_models, MODELS + "other = aliased(Order)"),
    (entities_outside_models, MODELS + "insert(Order).returning(Order)"),
    (entities_outside_models, MODELS + "order = Order(id=1)"),
    (entities_outside_models, "row = await session.get(kind, 1)"),
    (entities_outside_models, "session.add(row)"),
    (private_words, "# what honour_contract refuses"),
    (private_words, "raise IllegalMove"),
    (private_words, "self._deaf = True"),
    (private_words, "# for whoever calls"),
    (private_words, "The customer is told."),
    (private_words, "what becomes of it"),
]
ALLOWED: list[tuple[Check, str]] = [
    (request_state_by_string, "request.app.state.container.of(Settings)"),
    (request_state_by_string, "app.state.container = container"),
    (request_state_by_string, "scope['route'] = route"),
    (request_state_by_string, "state_of(scope).caller = caller"),
    (entities_outside_models, MODELS + "rows = select(Order.id, func.count()).select_from(Order)"),
    (entities_outside_models, MODELS + "insert(Order).values(id=1).returning(Order.id)"),
    (entities_outside_models, "from service.orders.schemas import Order\norder = Order(id=1)"),
    (private_words, "LoadShedding(app)"),
    (private_words, 'log.error("changes.not_heard")'),
]


@pytest.mark.parametrize("check", [request_state_by_string, entities_outside_models])
def test_the_service_keeps_the_convention(check: Check) -> None:
    assert [found for path, source in modules() for found in check(path, source)] == []


def test_no_private_word_is_used() -> None:
    assert [found for path, text in texts() for found in private_words(path, text)] == []


def test_the_tables_are_known() -> None:
    assert {"Order", "OrderLine", "User", "Session", "IdempotencyKey"} <= ENTITIES


@pytest.mark.parametrize(("check", "line"), PLANTED)
def test_a_line_that_breaks_it_is_found(check: Check, line: str) -> None:
    assert len(list(check("service/orders/planted.py", line))) == 1


@pytest.mark.parametrize(("check", "line"), ALLOWED)
def test_a_line_that_keeps_it_is_not(check: Check, line: str) -> None:
    assert list(check("service/orders/planted.py", line)) == []
