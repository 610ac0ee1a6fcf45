"""Resumable uploads by clients that others have written: they upload, stop, and go on."""

from io import BytesIO
from pathlib import Path
from typing import Any

from tusclient.client import TusClient

from acceptance.platform.test_upload import content
from acceptance.platform.tus_js_client import TusJsClient
from acceptance.platform.zones import KIB, MIB, Platform
from acceptance.suite.case import case
from acceptance.system.link import Link
from harness.platform.uploads import UPLOADS, Upload, begin
from harness.platform.zone import Zone
from harness.waiting import eventually

SIZE = 5 * MIB + 7
CUT = 2 * MIB + 1


@case("tus-clients/001", "getUpload 200", slow="10 MiB by another client")
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


@case("tus-clients/002", "getUpload 200", slow="three processes of Node")
def test_tus_js_client_uploads_and_resumes(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """tus-js-client is cut inside its PATCH; another process finds its upload, goes on, and ends another (issue 17)."""
    wanted, file = content(SIZE), tmp_path / "file.bin"
    file.write_bytes(wanted)
    with Link(platform.system.target.base_url) as link:
        client = TusJsClient(zone.key, link.url, file)
        link.left = CUT
        created, error = client.upload("/a.bin")
        assert (created["method"], created["status"], *error) == ("POST", 201, "error")
        link.left = None
        begun = Upload(zone, created["location"])
        eventually(lambda: begun.offset > 0, within_s=5.0, what="the end of the link")
        looked, appended = client.upload("/a.bin")
        assert (looked["method"], looked["status"], looked["url"]) == ("HEAD", 200, appended["url"])
        assert CUT - 4 * KIB < looked["offset"] < CUT, "what came with two heads"
        assert (appended["method"], appended["status"], appended["offset"]) == ("PATCH", 204, SIZE)
        assert zone.read("/a.bin") == wanted
        other = begin(zone, "/b.bin", SIZE)
        client.terminate(link.url + other.url)
    assert other.look().status == 404
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


def uploader(zone: Zone, base_url: str, content: bytes, path: str, *, checked: bool, url: str | None = None) -> Any:
    """A new instance. url: of an upload that has begun."""
    client = TusClient(base_url + UPLOADS, headers={"Authorization": f"Bearer {zone.key}"})
    named = {"path": path, "filename": "file.bin"}
    return client.uploader(
        file_stream=BytesIO(content), chunk_size=MIB, metadata=named, upload_checksum=checked, url=url
    )
