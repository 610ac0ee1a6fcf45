"""The verifier over the largest run that the scenarios make."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.sandboxes import seeding
from harness.sandboxes.calls import ALLOCATE, Call, write_calls
from harness.tests.sandboxes.conftest import Database

SANDBOXES, GIVEN, REPLAYS, REFUSED = 400_000, 350_000, 100_000, 50_000
A_SECOND = 500
FIRST_AT = 1_767_229_200
AT = f"to_timestamp({FIRST_AT}) + make_interval(secs => n / {A_SECOND})"
GIVE = f"""
    WITH numbered AS (SELECT sandbox_id, substr(sandbox_id, 8)::int AS n FROM sandboxes), given AS (
        UPDATE sandboxes AS s SET status = 'allocated', first_allocated_at = {AT}
        FROM numbered WHERE numbered.sandbox_id = s.sandbox_id AND n < {GIVEN} RETURNING s.sandbox_id, n
    )
    INSERT INTO allocations (sandbox_id, track_id, duration_s, allocated_at, expires_at, grace_until, deadline)
    SELECT sandbox_id, 'track-' || n, 60, {AT}, {AT} + interval '60 s', {AT} + interval '90 s', {AT} + interval '90 s'
    FROM given
"""


def calls() -> Iterator[Call]:
    for n in range(GIVEN):
        at = FIRST_AT + n // A_SECOND
        call = Call(ALLOCATE, f"track-{n}", at, at + 0.01, 201, f"load-x-{n}", at, at + 60)
        yield call
        if n < REPLAYS:
            yield call._replace(status=200, asked_at=at + 1, ended_at=at + 1.01)
        if n < REFUSED:
            yield Call(ALLOCATE, f"late-{n}", at + 0.5, at + 0.6, 409)


@pytest.mark.slow
def test_half_a_million_calls_take_less_than_half_a_minute_and_a_gigabyte(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeding.seed(database.url, "x", SANDBOXES)
    database.execute("UPDATE sandboxes SET made_available_at = '2026-01-01'")
    database.execute(GIVE)
    record = tmp_path / "calls.csv.gz"
    write_calls(record, calls())
    monkeypatch.setenv("NEXMDM_ARTIFACTS", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", database.reader_url)
    command = [sys.executable, "-m", "harness.sandboxes", "verify", "--label", "x", "--calls", str(record)]
    begun = time.monotonic()
    subprocess.run(command, check=False)
    took_s = time.monotonic() - begun
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{took_s:.1f} s, {peak_mib:.0f} MiB")
    result = json.loads((tmp_path / "pool" / "result.json").read_text())
    failed = {one["id"]: one["detail"] for one in result["checks"] if one["status"] == "fail"}
    assert {*failed} == {"V8"}, "50,000 sandboxes were free all the time"
    assert failed["V8"].startswith("50,000 faults in 50,000 answers 409")
    assert took_s < 30
    assert peak_mib < 1024
