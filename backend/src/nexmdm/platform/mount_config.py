"""What a mount's row says of its backend: its configuration as it was judged, and its secret, encrypted.

A secret leaves the process in its ciphertext alone: no answer, event, log line or error holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr, ValidationError

from nexmdm.http.json_body import field_errors
from nexmdm.platform.connector import BackendAwayError
from nexmdm.platform.connectors import Connectors
from nexmdm.platform.mount_shapes import BACKENDS, SEALED
from nexmdm.platform.rpc_errors import (
    BACKEND_UNKNOWN,
    ENDPOINT_FORBIDDEN,
    INVALID_PARAMS,
    ROOT_PATH_FORBIDDEN,
    SECRETS_NOT_KEPT,
    RpcError,
)
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.types import STORED_BACKENDS

_POINTER: Final = "/params/backend_config"


async def judged(
    backend_type: str, given: Mapping[str, str], settings: PlatformSettings, connectors: Connectors
) -> tuple[dict[str, str], str | None]:
    """The configuration and the ciphertext of a mount's row; a directory that is absent has been made.

    Raises:
        RpcError: no mount can have this backend; its configuration is not valid, or not allowed here.
    """
    if backend_type not in STORED_BACKENDS:
        raise RpcError(BACKEND_UNKNOWN)
    shape = BACKENDS[backend_type]
    try:
        config = shape.model_validate(dict(given)).model_dump(exclude_none=True)
    except ValidationError as error:
        raise RpcError(INVALID_PARAMS, errors=field_errors(error, _POINTER, frozenset(shape.model_fields))) from None
    if "root_path" in config:
        config["root_path"] = await asyncio.to_thread(_directory, config["root_path"], settings.platform_mount_roots)
    if backend_type == "s3" and not connectors.allows_endpoint(config.get("endpoint")):
        raise RpcError(ENDPOINT_FORBIDDEN)
    secret = config.pop(SEALED, None)
    return config, None if secret is None else _sealed(secret, settings.platform_secrets_key)


def _directory(wanted: str, roots: tuple[str, ...]) -> str:
    """The directory that is meant, which lies below an allowed one, wherever symlinks lead. RpcError."""
    try:
        meant = Path(wanted).resolve()
        if any(meant.is_relative_to(root) and meant != root for root in (Path(each).resolve() for each in roots)):
            meant.mkdir(mode=0o700, parents=True, exist_ok=True)
            if Path(wanted).resolve() == meant:
                return str(meant)
    except (OSError, RuntimeError):  # a file is there, or no right to make it, or symlinks without an end
        pass
    raise RpcError(ROOT_PATH_FORBIDDEN)


def _sealed(secret: str, key: SecretStr | None) -> str:
    if key is None:
        raise RpcError(SECRETS_NOT_KEPT)
    return Fernet(key.get_secret_value()).encrypt(secret.encode()).decode()


def opened(sealed: str | None, key: SecretStr | None) -> str | None:
    """The secret of a row, in clear. BackendAwayError: there is no key, or it was encrypted with another one."""
    if sealed is None:
        return None
    try:
        return Fernet(key.get_secret_value() if key else "").decrypt(sealed).decode()
    except (InvalidToken, ValueError):
        raise BackendAwayError("secret_unreadable") from None
