"""The smallest file that is an APK for the service: a ZIP with an AndroidManifest.xml. It installs nowhere."""

from __future__ import annotations

import io
import uuid
import zipfile
from typing import Final

MEDIA_TYPE: Final = "application/vnd.android.package-archive"


def apk(filler: int = 0, *, manifest: str = "AndroidManifest.xml", name: str | None = None) -> bytes:
    """An archive with `filler` bytes beside its manifest: the same for the same name, without a name another each time.

    manifest: what the manifest's file is called.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # A ZipInfo without a time: the clock would go into the bytes.
        archive.writestr(zipfile.ZipInfo(manifest), f'<manifest package="{name or uuid.uuid4()}"/>')
        archive.writestr(zipfile.ZipInfo("classes.dex"), bytes(number * 31 % 251 for number in range(filler)))
    return file.getvalue()
