"""The catalogue: what is for sale, and what it costs."""

from collections.abc import Sequence
from typing import Any

from service.database import Session
from service.errors import FieldFault, NotFound, SkuTaken, Unprocessable
from service.pagination import Page
from service.repositories import items, stock
from service.repositories.search import search as ranked
from service.schemas.items import Item, ItemCreate, ItemPatch
from service.security import Caller

#: What `null` removes; in the database it is then the empty text.
REMOVABLE = ("description", "category")


def _sees_withdrawn(caller: Caller | None) -> bool:
    return caller is not None and caller.is_admin


async def find(
    session: Session,
    caller: Caller | None,
    page: Page,
    filters: items.Filters,
    *,
    search: str | None,
    sort: str | None,
) -> list[Any]:
    """Rows of Item: sorted, or with `search` ranked, best match first."""
    low, high = filters.min_price, filters.max_price
    if low is not None and high is not None and low > high:
        raise _invalid("?min_price", "`min_price` is above `max_price`.", "empty_range")
    withdrawn = _sees_withdrawn(caller)
    if search is None:
        return await items.find(session, page, filters, sort=sort or "id", withdrawn=withdrawn)
    if sort is not None:
        raise _invalid("?sort", "Search results are ranked: leave `sort` out.", "sort_with_search")
    return await ranked(session, page, filters, search, withdrawn=withdrawn)


def _invalid(pointer: str, detail: str, code: str) -> Unprocessable:
    return Unprocessable(detail, errors=(FieldFault(pointer, detail, code),))


async def get(session: Session, caller: Caller | None, item_id: int) -> Item:
    row = await items.get(session, item_id, withdrawn=_sees_withdrawn(caller))
    if row is None:
        raise _no_such_item()
    return Item.of(row)


def _no_such_item() -> NotFound:
    return NotFound("There is no such item.")


async def create(session: Session, new: ItemCreate, *, actor_id: int | None) -> Item:
    """Raises SkuTaken. The stock it starts with is the first entry of its ledger."""
    made = await items.add(session, [_values(new)], actor_id=actor_id)
    if made[0] is None:
        raise _sku_taken("/sku")
    return Item.of(made[0])


async def create_batch(session: Session, new: Sequence[ItemCreate], *, actor_id: int | None) -> list[Item]:
    """All or none. Raises SkuTaken, which names each item whose sku the shop or the batch has already."""
    made = await items.add(session, [_values(item) for item in new], actor_id=actor_id)
    taken = [f"/{position}/sku" for position, row in enumerate(made) if row is None]
    if taken:
        raise _sku_taken(*taken)
    return Item.all_of(made)


def _values(new: ItemCreate) -> items.New:
    return items.New(
        sku=new.sku,
        name=new.name,
        description=new.description or "",
        category=new.category or "",
        price=new.price,
        is_active=new.is_active,
        quantity=new.stock,
        reorder_level=new.reorder_level,
    )


def _sku_taken(*pointers: str) -> SkuTaken:
    detail = "Another item has this SKU."
    faults = tuple(FieldFault(pointer, detail, SkuTaken.code) for pointer in pointers)
    return SkuTaken(detail if len(pointers) == 1 else "Other items have these SKUs.", errors=faults)


async def change(session: Session, item_id: int, patch: ItemPatch) -> Item:
    """The reorder level stands with the stock; of the item it can change no more than the availability."""
    values = patch.model_dump(exclude_unset=True)
    values |= {name: values[name] or "" for name in REMOVABLE if name in values}
    if not await stock.lock(session, [item_id]):
        raise _no_such_item()
    if "reorder_level" in values:
        await stock.set_reorder_level(session, item_id, values.pop("reorder_level"))
    if not await items.change(session, item_id, values):
        raise _sku_taken("/sku")
    return Item.of(await items.get(session, item_id, withdrawn=True))


async def withdraw(session: Session, item_id: int) -> None:
    """Take it from sale, again as often as one likes; past orders keep it."""
    await change(session, item_id, ItemPatch(is_active=False))
