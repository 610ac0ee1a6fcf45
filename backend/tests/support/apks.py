"""What the tests of builds share: a small APK and its upload. It asserts nothing."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import httpx

BUILDS, LATEST = "/v1/apk/builds", "/v1/apk/download-latest"
MEDIA_TYPE = "application/vnd.android.package-archive"


def apk(filler: bytes = b"", names: tuple[str, ...] = ("AndroidManifest.xml",), comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "<manifest/>")  # without the time, which would change the bytes
        archive.writestr(zipfile.ZipInfo("classes.dex"), filler)
        archive.comment = comment
    return file.getvalue()


async def upload(api: httpx.AsyncClient, content: bytes | None = None, **query: Any) -> httpx.Response:
    return await api.post(
        BUILDS,
        params={"version_code": 1, "version_name": "1.0", **query},
        content=apk() if content is None else content,
        headers={"Content-Type": MEDIA_TYPE},
    )
