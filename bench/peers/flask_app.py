"""The shop on Flask and SQLAlchemy: a pool, prepared statements (psycopg), pydantic for bodies."""

import os
from datetime import datetime
from decimal import Decimal
from functools import wraps
from typing import Any

import jwt
import tokens
from flask import Flask, Response, abort, g, request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import DateTime, ForeignKey, Numeric, create_engine, func, select
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    deferred,
    mapped_column,
    relationship,
    scoped_session,
    selectinload,
    sessionmaker,
)

engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"), pool_size=7, max_overflow=0
)
session = scoped_session(sessionmaker(engine, expire_on_commit=False))


class Base(DeclarativeBase):
    type_annotation_map = {Decimal: Numeric(12, 2), datetime: DateTime(timezone=True)}  # noqa: RUF012


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    full_name: Mapped[str]
    is_active: Mapped[bool]
    is_admin: Mapped[bool]
    email_verified: Mapped[bool]
    created_at: Mapped[datetime]


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    category: Mapped[str]
    price: Mapped[Decimal]
    stock: Mapped[int]
    is_active: Mapped[bool]
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    search: Mapped[str] = deferred(mapped_column(TSVECTOR))


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int]
    status: Mapped[str] = mapped_column(default="placed")
    total: Mapped[Decimal]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lines: Mapped[list["OrderLine"]] = relationship()


class OrderLine(Base):
    __tablename__ = "order_lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    product_id: Mapped[int]
    name: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[Decimal]


class Read(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class UserRead(Read):
    id: int
    email: str
    full_name: str
    is_active: bool
    is_admin: bool
    email_verified: bool
    created_at: datetime


class ItemRead(Read):
    id: int
    sku: str
    name: str
    description: str
    category: str
    price: Decimal
    stock: int
    is_active: bool
    version: int
    created_at: datetime
    updated_at: datetime


class LineCreate(BaseModel):
    product_id: int
    quantity: int = Field(ge=1)


class OrderCreate(BaseModel):
    lines: list[LineCreate] = Field(min_length=1)


class LineRead(LineCreate, Read):
    name: str
    unit_price: Decimal


class OrderRead(Read):
    id: int
    user_id: int
    status: str
    total: Decimal
    created_at: datetime
    lines: list[LineRead]


ITEMS, ORDERS = TypeAdapter(list[ItemRead]), TypeAdapter(list[OrderRead])
app = Flask(__name__)


@app.teardown_appcontext
def close(_: BaseException | None) -> None:
    session.remove()


def answer(content: str | bytes, status: int = 200) -> Response:
    return Response(content, status, mimetype="application/json")


def signed_in(handler: Any) -> Any:
    @wraps(handler)
    def with_user(*args: Any, **kwargs: Any) -> Any:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            g.user_id = tokens.user_id(token) if scheme == "Bearer" else abort(401)
        except jwt.InvalidTokenError:
            abort(401)
        return handler(*args, **kwargs)

    return with_user


def read_items() -> Response:
    query = select(Item).limit(min(request.args.get("limit", 10, int), 100))
    if words := request.args.get("search"):
        wanted = func.websearch_to_tsquery("english", words)
        query = query.where(Item.search.bool_op("@@")(wanted))
        query = query.order_by(func.ts_rank(Item.search, wanted).desc(), Item.id)
    else:
        query = query.order_by(Item.id)
    return answer(ITEMS.dump_json(ITEMS.validate_python(session.scalars(query).all())))


def read_item(item_id: int) -> Response:
    item = session.get(Item, item_id) or abort(404)
    response = answer(ItemRead.model_validate(item).model_dump_json())
    response.set_etag(str(item.version))
    return response.make_conditional(request)


app.get("/items", endpoint="items")(read_items)
app.get("/items/<int:item_id>", endpoint="item")(read_item)
app.get("/members/items", endpoint="members_items")(signed_in(read_items))
app.get("/members/items/<int:item_id>", endpoint="members_item")(signed_in(read_item))


@app.get("/profile")
@signed_in
def profile() -> Response:
    user = session.get(User, g.user_id) or abort(401)
    return answer(UserRead.model_validate(user).model_dump_json())


@app.get("/orders")
@signed_in
def own_orders() -> Response:
    limit = min(request.args.get("limit", 10, int), 100)
    query = select(Order).where(Order.user_id == g.user_id).order_by(Order.id.desc()).limit(limit)
    orders = session.scalars(query.options(selectinload(Order.lines))).all()
    return answer(ORDERS.dump_json(ORDERS.validate_python(orders)))


@app.post("/orders")
@signed_in
def place_order() -> Response:
    try:
        new = OrderCreate.model_validate_json(request.get_data())
    except ValidationError:
        abort(422)
    wanted = select(Item).where(Item.id.in_([line.product_id for line in new.lines])).order_by(Item.id)
    items = {item.id: item for item in session.scalars(wanted.with_for_update())}
    order = Order(user_id=g.user_id, total=Decimal(0), lines=[])
    for line in new.lines:
        item = items.get(line.product_id) or abort(404)
        if item.stock < line.quantity:
            abort(409)
        item.stock -= line.quantity
        order.total += item.price * line.quantity
        order.lines.append(
            OrderLine(product_id=item.id, name=item.name, quantity=line.quantity, unit_price=item.price)
        )
    session.add(order)
    session.commit()
    return answer(OrderRead.model_validate(order).model_dump_json(), 201)
