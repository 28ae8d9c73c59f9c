"""The catalogue, its stock and the stock's ledger.

Stock has a table of its own, beside the item: a sale updates one narrow row and leaves the item's
search indexes, version and cached answers alone. `items.availability` is the part of it that
the public may see, written in the same transaction when it changes.
"""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Computed, ForeignKey, Index, Integer, text, true
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Instant, Money, Ref, Str, Version

AVAILABILITIES = ("in_stock", "low_stock", "out_of_stock")
MOVEMENT_KINDS = ("initial", "adjustment", "sale", "return")
#: What the public sees of a row of `stock`.
AVAILABILITY = """
    CASE WHEN stock.quantity = 0 THEN 'out_of_stock'
         WHEN stock.quantity <= stock.reorder_level THEN 'low_stock'
         ELSE 'in_stock' END
"""
#: Words are stemmed as English; parts of words and typos are the trigram index's work.
SEARCH_TEXT = (
    "setweight(to_tsvector('english', name), 'A') || setweight(to_tsvector('english', category), 'B')"
    " || setweight(to_tsvector('english', description), 'C')"
)


class Item(Base):
    __tablename__ = "items"
    __table_args__ = (
        CheckConstraint("price > 0", name="price_positive"),
        CheckConstraint(f"availability IN {AVAILABILITIES}", name="availability_known"),
        Index("uq_items_sku", "sku", unique=True),
        Index("ix_items_search", "search", postgresql_using="gin"),
        Index("ix_items_name_trgm", "name", postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"}),
        Index("ix_items_name_id", "name", "id"),
        Index("ix_items_price_id", "price", "id"),
        Index("ix_items_created_at_id", "created_at", "id"),
        Index("ix_items_updated_at_id", "updated_at", "id"),
        Index("ix_items_category_id", "category", "id"),
        Index("ix_items_category_price_id", "category", "price", "id"),
        Index("ix_items_out_of_stock", "id", postgresql_where=text("availability = 'out_of_stock'")),
        Index("ix_items_withdrawn", "id", postgresql_where=text("NOT is_active")),
    )

    id: Mapped[Id]
    sku: Mapped[Str]
    name: Mapped[Str]
    description: Mapped[Str] = mapped_column(server_default=text("''"))
    category: Mapped[Str] = mapped_column(server_default=text("''"))
    price: Mapped[Money]
    availability: Mapped[Str] = mapped_column(server_default=text("'out_of_stock'"))
    is_active: Mapped[bool] = mapped_column(Boolean, server_default=true())
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    search: Mapped[str] = mapped_column(TSVECTOR, Computed(SEARCH_TEXT, persisted=True), deferred=True)


class CategoryCount(Base):
    """How many items on sale a category has more or fewer than the rows before say: its count is their sum.

    Triggers add the rows (revision 20261130_category_counts), so that the statements of every release and of
    operators count. A row for each category, kept by UPDATE, would make all writers wait for each other.
    """

    __tablename__ = "category_counts"

    id: Mapped[Id]
    category: Mapped[Str]
    delta: Mapped[int] = mapped_column(BigInteger)


class ItemWord(Base):
    """A word of an item's name, as the full-text search has it, with the length of the name.

    In the order of its key, the first items of a word are those whose names are hardly more than it. Triggers
    keep it (revision 20261130_item_words).
    """

    __tablename__ = "item_words"

    lexeme: Mapped[Str] = mapped_column(primary_key=True)
    length: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    item_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class NameWord(Base):
    """A word that is or was in the name of an item, for searches with a part of it or a typo."""

    __tablename__ = "name_words"
    __table_args__ = (
        Index("ix_name_words_word", "word"),
        Index("ix_name_words_trgm", "word", postgresql_using="gin", postgresql_ops={"word": "gin_trgm_ops"}),
    )

    id: Mapped[Id]
    word: Mapped[Str]
    lexeme: Mapped[Str]


class Stock(Base):
    __tablename__ = "stock"
    __table_args__ = (
        CheckConstraint("quantity >= 0", name="quantity_not_negative"),
        CheckConstraint("reorder_level >= 0", name="reorder_level_not_negative"),
    )

    item_id: Mapped[Ref] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    quantity: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    reorder_level: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    #: When it was last notified that the stock had come to the reorder level.
    low_stock_notified_at: Mapped[Instant | None]


class StockMovement(Base):
    """The ledger: every change of stock is a row, and stock is their sum."""

    __tablename__ = "stock_movements"
    __table_args__ = (
        CheckConstraint("delta <> 0", name="delta_not_zero"),
        CheckConstraint(f"kind IN {MOVEMENT_KINDS}", name="kind_known"),
        CheckConstraint("(kind IN ('sale', 'return')) = (order_id IS NOT NULL)", name="order_of_sale"),
        Index("ix_stock_movements_item_id_id", "item_id", "id"),
        Index(
            "uq_stock_movements_order_id_item_id_kind",
            "order_id",
            "item_id",
            "kind",
            unique=True,
            postgresql_where=text("order_id IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    item_id: Mapped[Ref] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"))
    order_id: Mapped[Ref | None] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    actor_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    kind: Mapped[Str]
    delta: Mapped[int] = mapped_column(Integer)
    reason: Mapped[Str]
    created_at: Mapped[CreatedAt]
