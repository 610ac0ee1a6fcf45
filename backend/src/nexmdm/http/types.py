"""The vocabulary of requests: strict closed objects and the bounded types that recur. It reads no request.

What JSON Schema says of a type (`nexmdm routes` prints it) and what the type accepts are one definition here.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import Path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from nexmdm.kernel import times

T = TypeVar("T")

_ID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


class Shape(BaseModel):
    """A request body: strict, closed, immutable; every number is finite."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _NotNull:
    """Takes null out of `T | None`: an optional property may be absent, never null."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


class Whole:
    """A whole number from `low` to `high`. JSON has one number type: 298.0 is 298 (JSON Schema, section 6.1.1)."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        bounded = core_schema.int_schema(ge=self._low, le=self._high, strict=True)
        return core_schema.no_info_before_validator_function(_integral, bounded)


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unique(items: list[T]) -> list[T]:
    if len(set(items)) != len(items):
        raise PydanticCustomError("unique_items", "Items must be unique")
    return items


def _canonical(value: object) -> object:
    # UUID() and pydantic also take upper case, braces and no hyphens: several spellings of one id.
    if isinstance(value, str) and re.fullmatch(_ID, value):
        return UUID(value)
    raise PydanticCustomError("uuid_parsing", "Input should be a UUID in lower case")


def _exists(value: str) -> datetime:
    try:
        return times.parse(value)
    except ValueError:
        raise PydanticCustomError("date_time", "Not a date and time that exists") from None


Maybe = Annotated[T | None, _NotNull()]
Unique = Annotated[list[T], AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})]

Id = Annotated[UUID, BeforeValidator(_canonical), Field(json_schema_extra={"pattern": _ID})]
IdInPath = Annotated[str, Path(json_schema_extra={"pattern": _ID})]  # any text, and `as_id` says what it names


def as_id(text: str) -> UUID | None:
    """The id that a path names; None: it is none, and so nothing has it."""
    return UUID(text) if re.fullmatch(_ID, text) else None


Moment = Annotated[
    str,
    StringConstraints(pattern=times.PATTERN),
    AfterValidator(_exists),
    Field(json_schema_extra={"format": "date-time"}),
]  # a datetime in UTC, once it is validated
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]  # free text on one line
FREE_TEXT: Final = r"^[^\x00]*$"  # PostgreSQL has no NUL in text
