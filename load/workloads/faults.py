"""A fault in words, where so many things have it."""

from __future__ import annotations

from collections.abc import Sized


def counted(what: str, some: Sized) -> list[str]:
    """The fault with its number; nothing where nothing has it."""
    return [f"{len(some)} {what}"] if some else []
