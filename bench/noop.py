"""The reference: what uvicorn answers when there is nothing to do but to keep bytes. Run by the backend's own Python.

`python noop.py` serves POST /v1/heartbeat (the body is decoded by a compiled schema, the answer is encoded), POST
/upload (the body is written to a file, with an fsync every 8 MiB) and any other path (neither) on a free port of
127.0.0.1, which it prints. It imports nothing of the backend: the
shape is a copy, so that a change there cannot move the reference.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import sys
import tempfile
from typing import IO, Annotated, Any, Literal

import orjson
import uvicorn
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]


class Heartbeat(BaseModel):
    """The fields of a heartbeat, as strict as the backend's."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    status: Literal["ok", "warn", "error"]
    battery_pct: Annotated[int, Field(ge=0, le=100)] | None = None
    plugged: bool | None = None
    temp_c: Annotated[float, Field(ge=-100, le=200)] | None = None
    network_type: Literal["wifi", "cellular", "ethernet", "none", "unknown"] | None = None
    signal_dbm: Annotated[int, Field(ge=-200, le=0)] | None = None
    uptime_s: Annotated[int, Field(ge=0, le=4_294_967_295)] | None = None
    ram_used_mb: Annotated[int, Field(ge=0, le=1_048_576)] | None = None
    unity_pkg_version: Version | None = None
    unity_running: bool | None = None
    agent_version: Version | None = None
    fcm_token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.-]{16,512}$")] | None = None


_ADAPTER = TypeAdapter(Heartbeat)
_ANSWER = b'{"ok":true,"deduplicated":false,"next_heartbeat_s":120.0}'


_PART = 8 * 2**20


async def _keep(receive: Any) -> None:
    """Make a body durable, part by part."""
    with tempfile.TemporaryFile(buffering=0) as file:
        part, more = bytearray(), True
        while more:
            message = await receive()
            part += message["body"]
            more = message.get("more_body", False)
            if len(part) >= _PART or not more:
                await asyncio.to_thread(_write, file, bytes(part))
                part.clear()


def _write(file: IO[bytes], part: bytes) -> None:
    file.write(part)
    os.fsync(file.fileno())


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A plain ASGI application."""
    if scope["path"] == "/v1/heartbeat":
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        _ADAPTER.validate_json(body)
        pause = round(120 * random.uniform(0.9, 1.1), 1)  # noqa: S311 - jitter is no secret
        answer = orjson.dumps({"ok": True, "deduplicated": False, "next_heartbeat_s": pause})
    else:
        if scope["path"] == "/upload":
            await _keep(receive)
        answer = _ANSWER
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def main() -> None:
    """Serve until SIGTERM, configured as nexmdm/server/processes.py configures its workers."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            lifespan="off",
        )
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
