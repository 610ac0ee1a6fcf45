"""How a fake sends a scripted answer: as it stands there, cut short, in drops, or not at all."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from harness.fakes.scripts import Answer


async def foreign(request: web.Request, answer: Answer) -> web.StreamResponse:
    """The scripted body, as something before the real service answers it."""
    body = answer.body or b""
    headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body) + answer.cut)} | answer.headers
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):  # a client that has waited long enough leaves
        if answer.drip_s:
            for byte in body:
                await response.write(bytes([byte]))
                await asyncio.sleep(answer.drip_s)
        else:
            await response.write(body)
    if answer.cut:
        return drop(request, response)
    await response.write_eof()
    return response


def drop(request: web.Request, begun: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection: with no answer at all, or in the middle of one that has begun."""
    if request.transport is not None:
        request.transport.abort()
    return begun or web.Response()
