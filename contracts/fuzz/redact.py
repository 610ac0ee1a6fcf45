"""Takes secrets out of report files, in place, also out of base64. It adds none to the known ones."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final

from harness.settings import Secrets

# Schemathesis' own sanitising covers headers and query; bodies stand as base64 in its NDJSON.
_BASE64: Final = re.compile(r'("\$base64": ?")([A-Za-z0-9+/]+=*)(")')


def scrub(path: Path, secrets: Secrets) -> None:
    """Line by line, since an event file may be larger than memory likes."""
    part = path.with_name(f".{path.name}.part")
    with path.open(encoding="utf-8") as source, part.open("w", encoding="utf-8") as target:
        for line in source:
            target.write(secrets.mask(_BASE64.sub(lambda found: _masked(found, secrets), line)))
    part.replace(path)


def _masked(found: re.Match[str], secrets: Secrets) -> str:
    text = base64.b64decode(found[2]).decode("latin-1")
    clean = secrets.mask(text)
    return found[0] if clean == text else found[1] + base64.b64encode(clean.encode("latin-1")).decode() + found[3]
