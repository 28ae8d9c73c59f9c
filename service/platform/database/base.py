"""Column types that every table shares, and the naming of constraints.

Constraints have predictable names because migrations and error messages refer to them.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from sqlalchemy import BigInteger, DateTime, Identity, MetaData, Numeric, Text, func, text
from sqlalchemy.orm import DeclarativeBase, mapped_column

Id = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Ref = Annotated[int, mapped_column(BigInteger)]
#: Money in the installation's one currency, exact to the cent.
Money = Annotated[Decimal, mapped_column(Numeric(12, 2))]
Percent = Annotated[Decimal, mapped_column(Numeric(5, 2))]
Instant = Annotated[datetime, mapped_column(DateTime(timezone=True))]
#: When the row was made, by the database's clock: pods need not agree on the time.
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Str = Annotated[str, mapped_column(Text)]
#: Counts changes of what the row shows to clients; the source of its ETag.
Version = Annotated[int, mapped_column(BigInteger, server_default=text("1"))]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
