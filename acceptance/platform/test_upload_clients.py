"""Resumable uploads by clients that others have written: they upload, stop, and go on."""

from io import BytesIO
from typing import Any

from tusclient.client import TusClient

from acceptance.platform.test_upload import content
from acceptance.platform.uploads import UPLOADS, Upload
from acceptance.platform.zones import MIB, Platform
from acceptance.suite.case import case
from harness.platform.zone import Zone

SIZE = 5 * MIB + 7


@case("tus-clients/001", "createUpload 201", "appendToUpload 204", "getUpload 200", slow="10 MiB by another client")
def test_tuspy_uploads_and_resumes(zone: Zone, platform: Platform) -> None:
    """tuspy uploads with checksums, stops, and another instance goes on to its end (issue 17)."""
    wanted, base_url = content(SIZE), platform.system.target.base_url
    for path, checked in (("/plain.bin", False), ("/checked.bin", True)):
        first = uploader(zone, base_url, wanted, path, checked=checked)
        first.upload(stop_at=2 * MIB)
        assert first.offset == 2 * MIB
        second = uploader(zone, base_url, wanted, path, checked=checked, url=first.url)
        assert second.offset == 2 * MIB
        second.upload()
        assert Upload(zone, second.url.removeprefix(base_url)).offset == SIZE
        assert zone.read(path) == wanted
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


def uploader(zone: Zone, base_url: str, content: bytes, path: str, *, checked: bool, url: str | None = None) -> Any:
    """A new instance. url: of an upload that has begun."""
    client = TusClient(base_url + UPLOADS, headers={"Authorization": f"Bearer {zone.key}"})
    named = {"path": path, "filename": "file.bin"}
    return client.uploader(
        file_stream=BytesIO(content), chunk_size=MIB, metadata=named, upload_checksum=checked, url=url
    )
