"""The connectors of a process: one for each mount that it has met lately."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from nexmdm.platform.connector import BackendAwayError, Connector
from nexmdm.platform.connector_local import LocalDirectory
from nexmdm.platform.connector_s3 import BucketDirectory, BucketSettings
from nexmdm.platform.settings import PlatformSettings

DEFAULT_REGION: Final = "us-east-1"
_MOST: Final = 256  # at a time; threads and connections of one that is forgotten end with it


class Connectors:
    """One per process."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._roots = [Path(root).resolve() for root in settings.platform_mount_roots]
        self._endpoints = settings.platform_mount_endpoints
        self._timeout_s = settings.platform_mount_timeout_s
        self._known: OrderedDict[UUID, Connector] = OrderedDict()

    def of(self, mount_id: UUID, backend: str, config: Mapping[str, Any], secret: str | None) -> Connector:
        """The one of a mount, whose config never changes under its id. secret: of a bucket, in clear.

        Raises:
            BackendAwayError: the settings do not allow it any more.
        """
        known = self._known.pop(mount_id, None) or self.make(backend, config, secret)
        self._known[mount_id] = known
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return known

    def make(self, backend: str, config: Mapping[str, Any], secret: str | None) -> Connector:
        """One that no mount has yet. Raises as `of` does."""
        if backend == "local":
            root = str(config["root_path"])
            if not self.allows_root(root):
                raise BackendAwayError("not_allowed")
            return LocalDirectory(root, self._timeout_s)
        region, endpoint = config.get("region") or DEFAULT_REGION, config.get("endpoint")
        # It becomes part of a host's name.
        if re.fullmatch("[a-z0-9-]{1,32}", region) is None or not self.allows_endpoint(endpoint):
            raise BackendAwayError("not_allowed")
        settings = BucketSettings(
            bucket=config["bucket"],
            prefix=(config.get("prefix") or "").strip("/"),
            endpoint=endpoint or f"https://s3.{region}.amazonaws.com",
            region=region,
            access_key_id=config["access_key_id"],
            secret_access_key=secret or "",
        )
        return BucketDirectory(settings, self._timeout_s)

    def allows_root(self, root: str) -> bool:
        """Whether a directory, absolute and resolved, is an allowed one or lies below it."""
        path = Path(root)
        return ".." not in path.parts and any(path.is_relative_to(allowed) for allowed in self._roots)

    def allows_endpoint(self, endpoint: str | None) -> bool:
        """Whether a mount may name this server; None: Amazon's, which every mount may."""
        return endpoint is None or endpoint.rstrip("/") in self._endpoints
