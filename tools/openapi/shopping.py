"""What a customer does, through the client that openapi-python-client has made; BASE PASSWORD."""

import sys

from tradepost_client import AuthenticatedClient, Client
from tradepost_client.api.auth import issue_token
from tradepost_client.api.items import list_items
from tradepost_client.api.orders import create_order, get_invoice, get_order
from tradepost_client.models import Item, Order, OrderCreate, Problem, Token, TokenRequest

CUSTOMER = "alfki@northwind.example"


def main(base: str, password: str) -> None:
    form = TokenRequest(grant_type="password", username=CUSTOMER, password=password)
    token = issue_token.sync(client=Client(base), body=form)
    assert isinstance(token, Token), token
    client = AuthenticatedClient(base, token=token.access_token)

    found = list_items.sync(client=client, in_stock=True, limit=2)
    assert isinstance(found, list), found
    assert [type(item) for item in found] == [Item, Item], found

    wanted = OrderCreate(product_id=found[0].id, quantity=1, unit_price=found[0].price)
    placed = create_order.sync(client=client, body=wanted, idempotency_key="shopping-in-python")
    assert isinstance(placed, Order), placed
    assert (placed.status, placed.total) == ("placed", found[0].price), placed
    again = get_order.sync(placed.id, client=client)
    assert isinstance(again, Order), again
    assert again == placed, again

    invoice = get_invoice.sync(placed.id, client=client)
    assert not isinstance(invoice, Problem), invoice
    assert invoice is not None
    assert invoice.payload.read(5) == b"%PDF-"

    refused = create_order.sync(
        client=client, body=OrderCreate(product_id=found[0].id, quantity=1, unit_price="0.01"),
        idempotency_key="shopping-for-a-cent",
    )  # fmt: skip
    assert type(refused).__name__ == "PriceChangedProblem", refused
    assert refused.prices[0].current == found[0].price, refused


main(*sys.argv[1:])
