"""What a device token costs to check: nothing where somebody made it up, one hash where a process sees it first."""

import statistics
import uuid
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.match import accepted, refused
from acceptance.system.system import Enrolled, FreshBackend, System
from acceptance.system.web_workers import web_processes
from harness.devices.seeded_fleet import device_token
from harness.http.client import Answer

TRIES = 60
HASHES = {"NEXMDM_BCRYPT_COST": "10"}  # what devices enrol with in service; other cases hash more cheaply
HASH_MS = 60  # what bcrypt takes then


def beat(system: System, token: str) -> Answer:
    return system.api.bearer(token, "POST", "/v1/heartbeat", json={"status": "ok"})


def made_up(device: Enrolled, retired: Enrolled) -> dict[str, str]:
    """Tokens that somebody makes up who knows how tokens look, and which devices there are."""
    ends = "A" * 43, "B" * 11
    return {
        "an unknown device": f"nxd_{'0' * 32}_{''.join(ends)}",
        "a wrong random part": device.token[:37] + ends[0] + device.token[-11:],
        "a wrong ticket": device.token[:-11] + ends[1],
        "no ticket": device.token[:-11],
        "a retired device": retired.token[:37] + "".join(ends),
    }


@case("credentials/001", "recordHeartbeat 401", slow="measures CPU on a system of its own")
def test_a_token_that_was_made_up_costs_next_to_nothing(fresh_backend: FreshBackend) -> None:
    """Whatever device a made-up token names, it gets the same 401, at the same cost and without a hash (issue 5)."""
    system: System = fresh_backend(env=HASHES)
    device, retired = system.device(), system.device()
    accepted(system.api.admin("DELETE", f"/v1/devices/{retired.device_id}"))
    [web] = map(psutil.Process, web_processes(system))
    bodies, answers = set(), []
    for kind, token in made_up(device, retired).items():
        before = sum(web.cpu_times()[:2])
        answers = [beat(system, token) for _ in range(TRIES)]
        spent_ms = (sum(web.cpu_times()[:2]) - before) * 1000 / TRIES
        bodies |= {tuple(sorted((refused(one, 401, "token_invalid") | {"request_id": ""}).items())) for one in answers}
        assert spent_ms < HASH_MS / 3, f"{kind}: {spent_ms:.0f} ms of CPU for each"
        assert statistics.median(one.elapsed_ms for one in answers) < HASH_MS, kind
    assert len(bodies) == 1, "an answer tells which devices there are"
    system.logs.expect(answers[-1], "sec.auth.fail", code="token_invalid")
    accepted(device.heartbeat())


@case("credentials/002", "recordHeartbeat 401", slow="measures CPU on a system of its own")
def test_different_wrong_tokens_cost_next_to_nothing(fresh_backend: FreshBackend) -> None:
    """Wrong tokens of a known device, each another, are refused without a hash, so nobody waits for one (issue 5)."""
    system: System = fresh_backend(env=HASHES)
    device = system.device()
    [web] = map(psutil.Process, web_processes(system))
    before = sum(web.cpu_times()[:2])
    for number in range(TRIES):
        wrong = device_token(b"another key", uuid.UUID(device.device_id), f"{number:043}")
        refused(beat(system, wrong), 401, "token_invalid")
    spent_ms = (sum(web.cpu_times()[:2]) - before) * 1000 / TRIES
    assert spent_ms < HASH_MS / 3, f"{spent_ms:.0f} ms of CPU for each"


@case("credentials/003", "recordHeartbeat 200", slow="starts its backend twice")
def test_another_hmac_secret_leaves_every_device_in(fresh_backend: FreshBackend) -> None:
    """Devices stay enrolled when the shared secret of commands is replaced and the service restarted (issue 5)."""
    system: System = fresh_backend()
    device = system.device()
    system.running.backend.restart(env={"NEXMDM_HMAC_SECRET": "another-secret-of-many-characters"})
    system.api.reconnect()
    answer = device.heartbeat()
    accepted(answer)
    system.logs.expect(answer, "heartbeat.ingest", device_id=device.device_id)
    accepted(system.device().heartbeat())


@case("credentials/004", "recordHeartbeat 200", slow="restarts a service with hundreds of devices")
@pytest.mark.parametrize("wrong_too", [False, True], ids=["alone", "beside a flood of wrong tokens"])
def test_after_a_restart_every_device_comes_in_and_known_ones_do_not_wait(
    wrong_too: bool, fresh_backend: FreshBackend
) -> None:
    """After a restart all devices come in at once, none is refused, and those already in do not wait (issue 5)."""
    system: System = fresh_backend(env=HASHES)
    known, *cold = [system.device() for _ in range(17)]
    system.running.backend.restart()
    system.api.reconnect()
    accepted(known.heartbeat())
    wrong = [f"nxd_{'0' * 32}_{number:054}" for number in range(200 if wrong_too else 0)]
    with ThreadPoolExecutor(2) as pool:
        coming = pool.submit(at_once, [device.heartbeat for device in cold])
        flood = pool.submit(lambda: [beat(system, token) for token in wrong])
        meanwhile = []
        while not coming.done():
            meanwhile.append(known.heartbeat())
        answers = coming.result()
        for answer in flood.result():
            refused(answer, 401, "token_invalid")
    for answer in [*answers, *meanwhile]:
        accepted(answer)
    slowest = max(answer.elapsed_ms for answer in answers)
    assert slowest > len(cold) * HASH_MS / 4, "no hash was made: the service still knew them"
    assert len(meanwhile) > 3 * len(cold), "who is known waits for the hashes of the others"
    stored = "select count(distinct device_id) from device_heartbeats where device_id = any(%s)"
    assert system.db.value(stored, [device.device_id for device in cold]) == len(cold)


@case("credentials/005", "recordHeartbeat 401", slow="starts its backend twice")
def test_only_the_hash_makes_a_token_good(fresh_backend: FreshBackend) -> None:
    """A replaced token, and another secret under a ticket of ours, is a 401 also where it is new (api.md: bcrypt)."""
    system: System = fresh_backend()
    device = system.device()
    key = system.db.value("select key from signing_keys where name = 'device_token'")
    forged = device_token(bytes(key), uuid.UUID(device.device_id), "A" * 43)
    again = system.device(device.alias)
    system.running.backend.restart()
    system.api.reconnect()
    with system.unchanged():
        for token in (device.token, forged):
            answer = beat(system, token)
            refused(answer, 401, "token_invalid")
            system.logs.expect(answer, "sec.auth.fail", code="token_invalid")
    accepted(again.heartbeat())
