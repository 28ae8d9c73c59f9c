"""A shop as FastAPI's tutorials write one: async SQLAlchemy, pydantic models, the user from the database.

Neither hampered nor tuned: an ORM session a request, pydantic models in and out, the libraries' settings as
they come, but for two: SQLAlchemy's guide wants the first with async sessions, and without the second
connections would be opened and closed all the time. Tokens are as with the other peers.
"""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import jwt
import tokens
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import DateTime, ForeignKey, Numeric, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

# A session is closed after the answer, when the next request has come already: that takes two for each
# connection of the bench. The usual pool of five made a request half as expensive again.
engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=14
)
SessionLocal = async_sessionmaker(engine, expire_on_commit=False)
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")


class Base(DeclarativeBase):
    type_annotation_map = {Decimal: Numeric(12, 2), datetime: DateTime(timezone=True)}  # noqa: RUF012


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    full_name: Mapped[str]
    hashed_password: Mapped[str]
    is_active: Mapped[bool] = mapped_column(default=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    email_verified: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    description: Mapped[str]
    category: Mapped[str]
    price: Mapped[Decimal]
    stock: Mapped[int]
    is_active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    status: Mapped[str] = mapped_column(default="placed")
    total: Mapped[Decimal]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lines: Mapped[list["OrderLine"]] = relationship()


class OrderLine(Base):
    __tablename__ = "order_lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
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


app = FastAPI()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with SessionLocal() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


async def get_current_user(token: Annotated[str, Depends(oauth2_scheme)], session: SessionDep) -> User:
    refusal = HTTPException(401, "Could not validate credentials", {"WWW-Authenticate": "Bearer"})
    try:
        user_id = tokens.user_id(token)
    except jwt.InvalidTokenError:
        raise refusal from None
    user = await session.get(User, user_id)
    if user is None:
        raise refusal
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


@app.get("/items", response_model=list[ItemRead])
@app.get("/members/items", response_model=list[ItemRead], dependencies=[Depends(get_current_user)])
async def list_items(
    session: SessionDep,
    search: str | None = None,
    offset: int = 0,
    limit: Annotated[int, Query(le=100)] = 100,
) -> list[Item]:
    query = select(Item).order_by(Item.id).offset(offset).limit(limit)
    if search:
        query = query.where(Item.name.ilike(f"%{search}%"))
    items = await session.scalars(query)
    return list(items.all())


@app.get("/items/{item_id}", response_model=ItemRead)
@app.get("/members/items/{item_id}", response_model=ItemRead, dependencies=[Depends(get_current_user)])
async def get_item(item_id: int, session: SessionDep) -> Item:
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(404, "Item not found")
    return item


@app.get("/profile", response_model=UserRead)
async def get_profile(user: CurrentUser) -> User:
    return user


@app.get("/orders", response_model=list[OrderRead])
async def list_orders(
    user: CurrentUser, session: SessionDep, limit: Annotated[int, Query(le=100)] = 100
) -> list[Order]:
    query = select(Order).where(Order.user_id == user.id).order_by(Order.id.desc()).limit(limit)
    orders = await session.scalars(query.options(selectinload(Order.lines)))
    return list(orders.all())


@app.post("/orders", response_model=OrderRead, status_code=201)
async def place_order(new: OrderCreate, user: CurrentUser, session: SessionDep) -> Order:
    order = Order(user_id=user.id, total=Decimal(0), lines=[])
    for line in new.lines:
        item = await session.get(Item, line.product_id)
        if item is None:
            raise HTTPException(404, "Item not found")
        if item.stock < line.quantity:
            raise HTTPException(409, "Not enough stock")
        item.stock -= line.quantity
        order.total += item.price * line.quantity
        order.lines.append(
            OrderLine(product_id=item.id, name=item.name, quantity=line.quantity, unit_price=item.price)
        )
    session.add(order)
    await session.commit()
    return order
