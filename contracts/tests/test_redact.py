"""Reports of the fuzzer are written without a secret, in the clear or in base64."""

import base64
from pathlib import Path

from contracts.fuzz.redact import scrub
from harness.settings import Secrets


def test_scrub_finds_secrets_in_the_clear_and_in_base64(tmp_path: Path) -> None:
    secrets = Secrets(["hunter2-hunter2"])
    token = "nxd_" + "0" * 32 + "_" + "A" * 54
    inner = base64.b64encode(f'{{"device_token": "{token}", "key": "hunter2-hunter2"}}'.encode()).decode()
    clean = base64.b64encode(b"nothing to hide").decode()
    report = tmp_path / "events.ndjson"
    report.write_text(f'{{"a": "{token}", "b": {{"$base64":"{inner}"}}, "c": {{"$base64": "{clean}"}}}}\n')
    scrub(report, secrets)
    text = report.read_text()
    bodies = [base64.b64decode(part.partition('"')[0]) for part in text.replace('": "', '":"').split('"$base64":"')[1:]]
    assert token not in text
    assert bodies[0] == b'{"device_token": "***", "key": "***"}'
    assert bodies[1] == b"nothing to hide"
