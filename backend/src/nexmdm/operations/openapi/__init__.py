"""The contract as it is served: the hand-written file byte for byte, the same as JSON, and as a page to read.

It describes nothing itself: what the routes say of themselves is `nexmdm routes`, and a drift check compares the two.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson
import yaml
from fastapi import APIRouter, Response

from nexmdm.kernel.problems import OVERLOADED, answers
from nexmdm.operations.openapi.page import render

router = APIRouter(tags=["operations"])

_ITS_OWN_STYLE: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_SOURCE: Final = Path(__file__).parents[2] / "openapi.yaml"


@dataclass(frozen=True, slots=True)
class Contract:
    """One document in the three forms that are served."""

    yaml: bytes
    json: bytes
    html: bytes


@cache
def contract() -> Contract:
    """Read, parsed and rendered once per process."""
    source = _SOURCE.read_bytes()
    document: dict[str, Any] = yaml.load(source, yaml.CSafeLoader)
    return Contract(source, orjson.dumps(document), render(document).encode())


@router.get("/openapi.yaml", operation_id="getOpenapiYaml", response_class=Response, responses=answers(OVERLOADED))
async def as_yaml() -> Response:
    """The contract, byte for byte."""
    return Response((await asyncio.to_thread(contract)).yaml, media_type="application/yaml")


@router.get("/openapi.json", operation_id="getOpenapiJson", response_class=Response, responses=answers(OVERLOADED))
async def as_json() -> Response:
    """The contract as JSON."""
    return Response((await asyncio.to_thread(contract)).json, media_type="application/json")


@router.get("/docs", operation_id="getDocs", response_class=Response, responses=answers(OVERLOADED))
async def as_page() -> Response:
    """The contract as a page that needs neither network nor scripts."""
    page = (await asyncio.to_thread(contract)).html
    return Response(page, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _ITS_OWN_STYLE})
