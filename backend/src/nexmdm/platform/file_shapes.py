"""What is asked of files: the parameters of their methods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nexmdm.http.types import Maybe, Shape, Whole
from nexmdm.platform.paths import Path

Text = Annotated[str, Field(max_length=2**24)]  # the body may be no larger
Etag = Annotated[str, Field(min_length=1, max_length=128)]
Offset = Annotated[int, Whole(0, 2**63 - 1)]


class Bytes(Shape):
    """Bytes in JSON."""

    type: Literal["bytes"] = Field(alias="__type__")
    data: Text


class Write(Shape):
    """`if_none_match`: `*`, or an etag."""

    path: Path
    content: Text | Bytes
    if_match: Maybe[Etag] = None
    if_none_match: Maybe[Etag] = None


class Read(Shape):
    """With an offset or a length a part of the file."""

    path: Path
    offset: Maybe[Offset] = None
    length: Maybe[Offset] = None


class Named(Shape):
    """One path."""

    path: Path
