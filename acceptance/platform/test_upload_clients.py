"""Resumable uploads by clients that others have written: they upload, stop, and go on."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

from acceptance.platform.test_upload import content
from acceptance.platform.uploads import UPLOADS, Upload
from acceptance.platform.zones import MIB, Platform
from acceptance.suite.case import case
from harness.platform.zone import Zone

SIZE = 5 * MIB + 7


@case("tus-clients/001", "createUpload 201", "appendToUpload 204", "getUpload 200", slow="10 MiB by another client")
def test_tuspy_uploads_and_resumes(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """tuspy uploads with checksums, stops, and another instance finds the upload and goes on to its end (issue 17)."""
    wanted, file = content(SIZE), tmp_path / "file.bin"
    file.write_bytes(wanted)
    base_url = platform.system.target.base_url
    for path, checked in (("/plain.bin", False), ("/checked.bin", True)):
        first = uploader(zone, base_url, file, path, checked=checked)
        first.upload(stop_at=2 * MIB)
        assert first.offset == 2 * MIB
        second = uploader(zone, base_url, file, path, checked=checked)
        assert (second.url, second.offset) == (first.url, 2 * MIB)
        second.upload()
        assert Upload(zone, second.url.removeprefix(base_url)).offset == SIZE
        assert sha256(zone.read(path)).hexdigest() == sha256(wanted).hexdigest()
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


def uploader(zone: Zone, base_url: str, file: Path, path: str, *, checked: bool) -> Any:
    """A new instance, which finds in a file which upload there is."""
    client = TusClient(base_url + UPLOADS, headers={"Authorization": f"Bearer {zone.key}"})
    return client.uploader(
        str(file),
        chunk_size=MIB,
        metadata={"path": path, "filename": file.name},
        upload_checksum=checked,
        store_url=True,
        url_storage=FileStorage(str(file.with_name(f"{checked}.json"))),
    )
