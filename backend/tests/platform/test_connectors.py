"""Which connector a mount has, and what the settings allow it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError
from support.database import settings_for

from nexmdm.platform import connectors
from nexmdm.platform.connector import BackendAwayError
from nexmdm.platform.connector_local import LocalDirectory
from nexmdm.platform.connector_s3 import BucketDirectory
from nexmdm.platform.connectors import Connectors

BUCKET = {"bucket": "a-bucket", "access_key_id": "mount"}
ALLOWED = "https://s3.example.com"


def made(**settings: Any) -> Connectors:
    return Connectors(settings_for("postgresql://localhost/nothing", **settings))


def test_a_directory_must_lie_below_an_allowed_one(tmp_path: Path) -> None:
    root = tmp_path.resolve() / "root"
    allowed = made(platform_mount_roots=(str(root),))
    for path in (root, root / "a/b"):
        assert isinstance(allowed.of(uuid4(), "local", {"root_path": str(path)}, None), LocalDirectory)
    for path in (tmp_path, tmp_path / "root2", tmp_path / "root/../other"):
        for judged in (allowed, made()):
            with pytest.raises(BackendAwayError, match="not_allowed"):
                judged.of(uuid4(), "local", {"root_path": str(path)}, None)


def test_an_allowed_directory_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    allowed = made(platform_mount_roots=(str(tmp_path / "link"),))
    assert allowed.allows_root(str((tmp_path / "real/a").resolve()))


def test_a_bucket_is_amazons_or_at_an_allowed_server() -> None:
    allowed = made(platform_mount_endpoints=(ALLOWED,))
    for config in ({}, {"region": "eu-central-1"}, {"endpoint": ALLOWED}, {"endpoint": f"{ALLOWED}/"}):
        assert isinstance(allowed.of(uuid4(), "s3", BUCKET | config, "secret"), BucketDirectory)
    for config in (
        {"endpoint": "http://127.0.0.1:8080"},
        {"endpoint": f"{ALLOWED}.evil.example"},
        {"endpoint": f"{ALLOWED}/path"},
        {"region": "x.evil.example/"},
        {"region": "user@evil"},
    ):
        with pytest.raises(BackendAwayError, match="not_allowed"):
            allowed.of(uuid4(), "s3", BUCKET | config, "secret")
    with pytest.raises(BackendAwayError, match="not_allowed"):
        made().of(uuid4(), "s3", BUCKET | {"endpoint": ALLOWED}, "secret")


def test_a_mount_keeps_its_connector_until_many_others_were_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connectors, "_MOST", 2)
    allowed = made(platform_mount_roots=(str(tmp_path.resolve()),))
    config = {"root_path": str(tmp_path.resolve())}
    one, two, three = (uuid4() for _ in range(3))
    first, second = allowed.of(one, "local", config, None), allowed.of(two, "local", config, None)
    assert first is not second
    assert allowed.of(one, "local", config, None) is first
    allowed.of(three, "local", config, None)
    assert allowed.of(one, "local", config, None) is first
    assert allowed.of(two, "local", config, None) is not second


def test_roots_are_absolute() -> None:
    with pytest.raises(ValidationError, match="must be absolute paths"):
        made(platform_mount_roots=("/srv", "relative"))
