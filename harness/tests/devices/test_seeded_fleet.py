"""A derived fleet: the same in every process that has the key, and nobody else's."""

from __future__ import annotations

import subprocess
import sys
import uuid

from harness.devices.seeded_fleet import Fleet, device_token

KEY, AT_MS = b"k" * 32, 1_780_000_000_000
SCRIPT = "from harness.devices.seeded_fleet import Fleet; print(Fleet(b'k' * 32, 'run-1', 1780000000000).token(7))"


def test_another_process_derives_the_same_token() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Fleet(KEY, "run-1", AT_MS).token(7) == Fleet(KEY, "run-1", AT_MS).device(7).token


def test_ids_are_of_version_7_of_their_time_and_all_different() -> None:
    fleet = Fleet(KEY, "run-1", AT_MS)
    ids = [uuid.UUID(fleet.device(number).device_id) for number in range(2000)]
    assert len({*ids}) == 2000
    assert {(one.version, one.variant, one.int >> 80) for one in ids} == {(7, uuid.RFC_4122, AT_MS)}


def test_a_token_ends_in_the_mac_that_registration_makes() -> None:
    fleet = Fleet(KEY, "run-1", AT_MS)
    device = fleet.device(3)
    assert device.token == device_token(KEY, uuid.UUID(device.device_id), fleet.secret)
    assert len(fleet.secret) == 43


def test_neither_name_nor_key_alone_makes_it() -> None:
    tokens = {Fleet(key, name, AT_MS).token(0) for key in (KEY, b"x" * 32) for name in ("run-1", "run-2")}
    secrets = {Fleet(key, name, AT_MS).secret for key in (KEY, b"x" * 32) for name in ("run-1", "run-2")}
    assert (len(tokens), len(secrets)) == (4, 4)
