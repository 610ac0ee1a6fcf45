"""The smallest file that passes for an APK: a ZIP with an AndroidManifest.xml. It deliberately installs nowhere."""

from __future__ import annotations

import io
import zipfile


def make_apk(package_name: str) -> bytes:
    """The same bytes for the same package: no clock goes into it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (
            ("AndroidManifest.xml", f'<manifest package="{package_name}"/>'),
            ("classes.dex", "dex\n035\0" + "\0" * 104),
        ):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return content.getvalue()
