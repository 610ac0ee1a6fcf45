"""The columns that recur: moments, counts, references, free text; and the naming rule of all constraints.

It holds no table, and no column that only one table has.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Identity, Text, text
from sqlmodel import Field, SQLModel

# Constraints and indexes have the same name in every database, so that a violation can be recognised by its name.
SQLModel.metadata.naming_convention = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}

IpAddress = IPv4Address | IPv6Address


def sql_list(values: tuple[str, ...]) -> str:
    """`('one', 'other')`, of words of the code."""
    return "({})".format(", ".join(f"'{value}'" for value in values))


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """`column IN (...)`. A null column passes, as with every CHECK."""
    return CheckConstraint(f"{column} IN {sql_list(values)}", name=column)


def sha256_hex(column: str, *, name: str | None = None) -> CheckConstraint:
    """64 lower-case hexadecimal digits. `name`: of the constraint; by default the column's."""
    return CheckConstraint(f"{column} ~ '^[0-9a-f]{{64}}$'", name=name or column)


def timestamptz(*, default: str | None = None) -> Any:
    """A `timestamptz` that is always there; `default` is an SQL expression such as `now()`."""
    server_default = text(default) if default else None
    return Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=server_default))


def nullable_timestamptz() -> Any:
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=True))


def identity() -> Any:
    """A bigint that the database numbers; None until the row is stored."""
    return Field(default=None, sa_column=Column(BigInteger, Identity(always=False), nullable=False))


def refers_to(target: str, *, nullable: bool = False, on_delete: str | None = None, primary: bool = False) -> Any:
    """A foreign key column; its type is that of the column it refers to."""
    key = ForeignKey(target, ondelete=on_delete)
    column: Column[Any] = Column(key, nullable=nullable, primary_key=primary)
    return Field(default=None, sa_column=column) if nullable else Field(sa_column=column)


def amount() -> int:
    """A bigint that begins at 0."""
    column: Column[int] = Column(BigInteger, nullable=False, server_default=text("0"))
    number: int = Field(default=0, sa_column=column)
    return number


def bytewise(*, nullable: bool = False) -> str:
    """Text whose order is that of its bytes, so that what lies below a path is one range."""
    column: Column[str] = Column(Text(collation="C"), nullable=nullable)
    path: str = Field(default=None, sa_column=column) if nullable else Field(sa_column=column)
    return path


def made_uuid(by: str = "gen_random_uuid()") -> UUID:
    """A UUID that the database makes, by this expression."""
    made: UUID = Field(default=None, nullable=False, sa_column_kwargs={"server_default": text(by)})
    return made


def count(default: int = 0) -> Any:
    return Field(default=default, sa_column_kwargs={"server_default": text(str(default))})


def free_text(default: str | None = None) -> Any:
    """Text without a length: PostgreSQL gains nothing from one, and the contract bounds what comes in."""
    if default is None:
        return Field(sa_type=Text)
    return Field(default=default, sa_type=Text, sa_column_kwargs={"server_default": default})


def nullable_text() -> Any:
    return Field(default=None, sa_type=Text)
