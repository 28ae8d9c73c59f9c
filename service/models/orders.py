"""Orders: what was agreed, copied at the time, so that nothing later changes it."""

from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, false, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.models.base import Base, CreatedAt, Id, Instant, Money, Percent, Ref, Str, Version

STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "refunded")
SHIPPINGS = ("standard", "express", "overnight")


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status_known"),
        CheckConstraint(f"shipping IN {SHIPPINGS}", name="shipping_known"),
        CheckConstraint(
            "subtotal >= 0 AND discount >= 0 AND shipping_fee >= 0 AND discount <= subtotal",
            name="amounts_in_range",
        ),
        CheckConstraint("total = subtotal - discount + shipping_fee", name="total_adds_up"),
        CheckConstraint("NOT refund_due OR status = 'cancelled'", name="refund_due_only_cancelled"),
        Index("ix_orders_placed_at_id", "placed_at", "id"),
        Index("ix_orders_user_id_placed_at_id", "user_id", "placed_at", "id"),
        Index("ix_orders_status_placed_at_id", "status", "placed_at", "id"),
        Index("ix_orders_unpaid", "user_id", postgresql_where=text("status = 'placed'")),
        Index("ix_orders_user_id_reference", "user_id", "reference"),
    )

    id: Mapped[Id]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"))
    customer_name: Mapped[Str]
    status: Mapped[Str] = mapped_column(server_default=text("'placed'"))
    shipping: Mapped[Str]
    subtotal: Mapped[Money]
    discount: Mapped[Money]
    shipping_fee: Mapped[Money]
    total: Mapped[Money]
    currency: Mapped[Str]
    #: The address as schemas.users.Address has it, or null until the order must ship. A document,
    #: because it is a copy that is shown and never searched.
    ship_to: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    reference: Mapped[Str | None]
    refund_due: Mapped[bool] = mapped_column(Boolean, server_default=false())
    cancel_reason: Mapped[Str | None]
    payment_reference: Mapped[Str | None]
    refund_reference: Mapped[Str | None]
    tracking: Mapped[Str | None]
    version: Mapped[Version]
    placed_at: Mapped[CreatedAt]
    paid_at: Mapped[Instant | None]
    shipped_at: Mapped[Instant | None]
    delivered_at: Mapped[Instant | None]
    cancelled_at: Mapped[Instant | None]
    refunded_at: Mapped[Instant | None]


class OrderLine(Base):
    __tablename__ = "order_lines"
    __table_args__ = (
        CheckConstraint("quantity BETWEEN 1 AND 1000", name="quantity_in_range"),
        CheckConstraint("unit_price > 0", name="unit_price_positive"),
        CheckConstraint("discount_pct BETWEEN 0 AND 100", name="discount_pct_in_range"),
        # PostgreSQL's round() on numeric is half away from zero: half-up for what is not negative.
        CheckConstraint(
            "line_total = round(unit_price * quantity * (1 - discount_pct / 100), 2)", name="line_total_exact"
        ),
        Index("ix_order_lines_product_id", "product_id"),
    )

    order_id: Mapped[Ref] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True)
    product_id: Mapped[Ref] = mapped_column(ForeignKey("items.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[Str]
    quantity: Mapped[int] = mapped_column(Integer)
    unit_price: Mapped[Money]
    discount_pct: Mapped[Percent] = mapped_column(server_default=text("0"))
    line_total: Mapped[Money]
