"""The preconditions of a request against the representation that it would get (RFC 9110, section 13).

It evaluates; what a range is and what is sent stand with the resource. A value that is malformed matches nothing, so
that it never joins parts of two representations; a date that is malformed is ignored, as the RFC demands.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final

from starlette.datastructures import Headers

from nexmdm.http.problems import PRECONDITION_FAILED
from nexmdm.kernel.problems import Problem

# Section 8.8.3. An opaque tag may hold a comma, so that a list cannot be split at its commas (5.6.1).
_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = re.compile(_TAG)
_LIST: Final = re.compile(rf"[ \t,]*(?:{_TAG}[ \t]*(?:,[ \t,]*|$))*")
# Section 5.6.7: the preferred form, and the two of old that a recipient has to understand.
_DATES: Final = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")

_FIELDS: Final = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
_FIELDS_OF_GET: Final = (*_FIELDS, "If-Range", "Range")


@dataclass(frozen=True, slots=True)
class Validators:
    """Of the current representation: a strong entity tag with its quotes, and when it came to be."""

    etag: str
    modified: datetime

    @property
    def last_modified(self) -> str:
        """The field of that name."""
        return format_datetime(self._second, usegmt=True)

    @property
    def _second(self) -> datetime:
        return self.modified.astimezone(UTC).replace(microsecond=0)

    def is_not_modified(self, headers: Headers) -> bool:
        """Steps 1 to 4 of section 13.2.2 for GET and HEAD: whether the answer is a 304.

        Raises:
            Problem: `precondition_failed`.
        """
        if (wanted := field(headers, "if-match")) is not None:
            if not _is_among(self.etag, wanted, strongly=True):
                raise Problem(PRECONDITION_FAILED)
        elif (since := _date(field(headers, "if-unmodified-since"))) is not None and self._second > since:
            raise Problem(PRECONDITION_FAILED)
        if (known := field(headers, "if-none-match")) is not None:
            return _is_among(self.etag, known, strongly=False)
        since = _date(field(headers, "if-modified-since"))
        return since is not None and self._second <= since

    def allow_range(self, headers: Headers) -> bool:
        """Step 5: whether a Range may be served. A date is no strong validator (8.8.2.2): two builds can share it."""
        wanted = field(headers, "if-range")
        return wanted is None or wanted == self.etag


def require_match(headers: Headers, etag: str | None) -> None:
    """Step 1 for a change of a representation, which has this strong entity tag; None: there is none yet.

    Raises:
        Problem: `precondition_failed`.
    """
    wanted = field(headers, "if-match")
    if wanted is not None and (etag is None or not _is_among(etag, wanted, strongly=True)):
        raise Problem(PRECONDITION_FAILED)


def _is_among(etag: str, tags: str, *, strongly: bool) -> bool:
    """Whether the list names the representation of this tag; `*` names any (8.8.3.2, 13.1.1, 13.1.2)."""
    if tags == "*":
        return True
    given = _TAGS.findall(tags) if _LIST.fullmatch(tags) else []
    return etag in (given if strongly else [tag.removeprefix("W/") for tag in given])


def field(headers: Headers, name: str) -> str | None:
    """The value of a field, its lines joined to one list (5.2); None where it is not there."""
    lines = headers.getlist(name)
    return ", ".join(lines).strip(" \t") if lines else None


def _date(value: str | None) -> datetime | None:
    """An HTTP-date; None for anything else, a list of dates included."""
    if value is None:
        return None
    for form in _DATES:
        with suppress(ValueError):
            return datetime.strptime(value, form).replace(tzinfo=UTC)
    return None


def described(*, head: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route that evaluates them: its header parameters. HEAD has no ranges."""
    names = _FIELDS if head else _FIELDS_OF_GET
    return {"parameters": [{"name": name, "in": "header", "schema": {"type": "string"}} for name in names]}
