"""The text of cursors: opaque, in letters that need no quoting in a URL, and each in one spelling."""

from __future__ import annotations

import base64


def encode(text: str) -> str:
    """A cursor that holds the text."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """What `encode` was given. ValueError: it makes no such cursor."""
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    if encode(text) != cursor:
        raise ValueError("another spelling")
    return text
