"""Orders: names, prices, discounts and addresses are copied when one is placed, and never change.

What a CHECK cannot say is held by triggers (revision 20261122_order_life): the amounts are the sums of
the lines, lines and amounts never change, a state is left only by a valid transition, and events only grow.
"""

from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, false, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.platform.database.base import Base, CreatedAt, Id, Instant, Money, Percent, Ref, Str, Version

STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "refunded")
SHIPPINGS = ("standard", "express", "overnight")
#: RFC 3339 in UTC, as everywhere else.
INSTANT = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
#: Who made a transition. The timeline outlives the person, whose id is in the audit log.
#: `unknown` marks transitions made by releases that kept no timeline.
ACTORS = ("customer", "staff", "api_key", "system", "import", "unknown")


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
        # No line costs nothing before its discount: without lines there is no order.
        CheckConstraint("subtotal > 0", name="has_lines"),
        # Each state with the moments of those that lead to it, and with no others.
        CheckConstraint("paid_at IS NULL OR status <> 'placed'", name="placed_is_unpaid"),
        CheckConstraint("paid_at IS NOT NULL OR status IN ('placed', 'cancelled')", name="paid_at_once_paid"),
        CheckConstraint(
            "(shipped_at IS NOT NULL) = (status IN ('shipped', 'delivered'))", name="shipped_at_once_shipped"
        ),
        CheckConstraint(
            "(delivered_at IS NOT NULL) = (status = 'delivered')", name="delivered_at_once_delivered"
        ),
        CheckConstraint(
            "(cancelled_at IS NOT NULL) = (status IN ('cancelled', 'refunded'))",
            name="cancelled_at_once_cancelled",
        ),
        CheckConstraint(
            "(refunded_at IS NOT NULL) = (status = 'refunded')", name="refunded_at_once_refunded"
        ),
        CheckConstraint(
            "refund_due = (status = 'cancelled' AND paid_at IS NOT NULL)", name="refund_due_if_paid"
        ),
        CheckConstraint(
            "(events -> -1 ->> 'status') IS NOT DISTINCT FROM status", name="last_event_is_state"
        ),
        CheckConstraint(
            f"((events -> -1 ->> 'at') IS NOT NULL AND (events -> -1 ->> 'by') IN {ACTORS}) IS TRUE",
            name="last_event_complete",
        ),
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
    #: The timeline, oldest first: documents with status, at and by. A transition adds one, and none changes.
    events: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    version: Mapped[Version]
    placed_at: Mapped[CreatedAt]
    #: A trigger keeps it: of every change, of whichever release.
    updated_at: Mapped[CreatedAt]
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
