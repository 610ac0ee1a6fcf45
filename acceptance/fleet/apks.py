"""Builds for cases: packages, versions and uploads that are new.

Does not know what the service should answer.
"""

import itertools
import time
from typing import Any

from acceptance.system.api import Api
from acceptance.system.system import new_alias
from harness.devices.apk import MEDIA_TYPE, apk
from harness.http.client import Answer

_codes = itertools.count(int(time.time()))  # higher than those of any run before


def new_package() -> str:
    return f"com.acceptance.p{new_alias()[2:]}"


def new_version_code() -> int:
    """Higher than every one before."""
    return next(_codes)


def upload(api: Api, content: bytes | None = None, *, media_type: str = MEDIA_TYPE, **query: Any) -> Answer:
    """POST /v1/apk/builds; a query parameter given as None is left out."""
    params = {"package_name": new_package(), "version_code": new_version_code(), "version_name": "1.0.0", **query}
    return api.admin(
        "POST",
        "/v1/apk/builds",
        content=apk() if content is None else content,
        headers={"Content-Type": media_type},
        params={name: value for name, value in params.items() if value is not None},
    )
