"""Keyset pages: newest first, stable under inserts, of a cost that does not grow with the page. It knows no table."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Final, Generic, TypeVar, get_origin

from fastapi import Query, Request
from fastapi.dependencies.utils import get_flat_params
from pydantic import BaseModel, BeforeValidator
from pydantic_core import PydanticCustomError
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Mapped

from nexmdm.http import cursors
from nexmdm.http.runtime import Session
from nexmdm.kernel import times
from nexmdm.kernel.problems import VALIDATION_ERROR, FieldError, Problem, invalid

Item = TypeVar("Item")
Row = TypeVar("Row")

_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _in_digits(value: object) -> object:
    """Python also reads 5_0, +5, 5.0 and the digits of other scripts."""
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}", value) is None:
        raise PydanticCustomError("int_parsing", "Input should be a valid integer")
    return value


IN_DIGITS: Final = BeforeValidator(_in_digits)  # for a number in a query


class Page(BaseModel, Generic[Item]):
    """One page. `next_cursor` is null on the last."""

    items: list[Item]
    next_cursor: str | None


class Paging:
    """The `limit` and `cursor` of a request."""

    def __init__(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200), IN_DIGITS] = 50,
        cursor: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,200}$")] = None,
    ) -> None:
        check_parameters(request)
        self.limit = limit
        self.cursor = cursor
        self._list: str = request.scope["route"].path

    def after(self, parse_key: Callable[[str], Any] = str) -> tuple[datetime, Any] | None:
        """The moment and key that the page begins behind; None for the first. Problem: not a cursor of this list."""
        return None if self.cursor is None else _decode(self._list, self.cursor, parse_key)

    def cut(
        self, rows: Sequence[Row], place: Callable[[Row], tuple[datetime, object]]
    ) -> tuple[Sequence[Row], str | None]:
        """Of one row more than the limit, or fewer at the end: those of the page, and the cursor of the next one.

        place: the moment and key of a row.
        """
        shown = rows[: self.limit]
        return shown, _encode(self._list, *place(shown[-1])) if len(rows) > self.limit else None

    async def read(
        self,
        session: Session,
        query: Select[*tuple[Any, ...]],
        moment: Mapped[datetime],
        key: Mapped[Any],
        view: Callable[[Any], Item],
        parse_key: Callable[[str], Any] = str,
    ) -> Page[Item]:
        """Run `query` newest `moment` first, ties by `key`, and make a page of `view(row)`."""
        if (after := self.after(parse_key)) is not None:
            at, last = after
            query = query.where(tuple_(moment, key) < tuple_(at, last))
        query = query.add_columns(moment.label("page_moment"), key.label("page_key"))
        rows: Sequence[Any] = (
            await session.execute(query.order_by(moment.desc(), key.desc()).limit(self.limit + 1))
        ).all()
        shown, cursor = self.cut(rows, attrgetter("page_moment", "page_key"))
        return Page(items=[view(row) for row in shown], next_cursor=cursor)


def _encode(path: str, at: datetime, key: object) -> str:
    """The end of a page of the list at this path, and good for no other."""
    return cursors.encode(json.dumps([path, at.isoformat(), str(key)]))


def _decode(path: str, cursor: str, parse_key: Callable[[str], Any]) -> tuple[datetime, Any]:
    """What `_encode` was given.

    Raises:
        Problem: `validation_error` for everything that it does not make, such as another spelling of the same.
    """
    try:
        _, at, key = json.loads(cursors.decode(cursor))
        after = times.parse(at), parse_key(_plain(key))
    except (ValueError, TypeError):
        after = None
    if after is None or _encode(path, *after) != cursor:
        raise invalid("/query/cursor", "cursor", "Not a cursor of this list.")
    return after


def _plain(key: str) -> str:
    if _KEY.fullmatch(key) is None:
        raise ValueError("neither a number, nor a UUID, nor a request id")
    return key


async def refuse_repeated_parameters(request: Request) -> None:
    """The dependency of a route: `check_parameters`. FastAPI would call a plain function in a thread."""
    check_parameters(request)


def check_parameters(request: Request) -> None:
    """422 for `?a=1&a=2`, unless the parameter is a list: which of the two counted would be a guess."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    repeated = {name for name, count in counts.items() if count > 1}
    declared: dict[str, Any] = {}
    if repeated:
        declared = {one.alias: one.field_info.annotation for one in get_flat_params(request.scope["route"].dependant)}
        repeated -= {name for name, kind in declared.items() if get_origin(kind) is list}
    if repeated:
        pointers = ["/query/" + name for name in sorted(repeated & declared.keys())] or ["/query"]
        message = "The parameter is repeated."
        errors: list[FieldError] = [
            {"pointer": pointer, "code": "duplicate_parameter", "message": message} for pointer in pointers
        ]
        raise Problem(VALIDATION_ERROR, errors=errors)
