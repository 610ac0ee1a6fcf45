"""An APK is a ZIP with a manifest; a name decides its bytes, and without one no two are equal."""

import io
import zipfile

from harness.devices.apk import apk


def test_it_is_an_archive_with_a_manifest_and_a_filler() -> None:
    with zipfile.ZipFile(io.BytesIO(apk(300))) as archive:
        assert archive.namelist() == ["AndroidManifest.xml", "classes.dex"]
        assert len(archive.read("classes.dex")) == 300
        assert archive.testzip() is None


def test_the_name_decides_its_bytes() -> None:
    assert apk(name="com.example.a") == apk(name="com.example.a")
    assert apk(name="com.example.a") != apk(name="com.example.b")
    assert apk() != apk()
