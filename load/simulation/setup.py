"""What the admin does before the devices start: tokens, script, an APK to fetch. It enrols nobody."""

from __future__ import annotations

from harness.devices.apk import MEDIA_TYPE, apk
from harness.http.client import Answer, Client
from harness.verdict.thresholds import Status
from load.engine import NotReady
from load.simulation.run import SimulatedDevice, SimulationRun
from load.workloads.simulation import Profile


def _expect(what: str, answer: Answer, *statuses: int) -> Answer:
    if answer.status not in statuses:
        # A 5xx is the deployment's fault; anything else may be our key, our address, our configuration.
        fault = Status.FAIL if answer.status >= 500 else Status.INCONCLUSIVE
        raise NotReady(f"{what}: {answer.status} {answer.body[:200].decode(errors='replace')}", fault)
    return answer


def prepare(run: SimulationRun, profile: Profile, client: Client) -> None:
    """Create the tokens, render the script for the first device, upload the APK of the run's own package.

    Raises NotReady, TransportError.
    """
    aliases = [f"D{number:02d}-{run.id}" for number in range(1, profile.devices + 1)]
    body = {"aliases": aliases, "expires_in_s": profile.token_ttl_s, "note": f"{profile.name} {run.id}"}
    created = client.admin("POST", "/v1/enroll-tokens", json=body, request_id=f"{run.tag}-tokens")
    tokens = {item["alias"]: item["token"] for item in _expect("enrolment tokens", created, 200).json()["tokens"]}
    for number, alias in enumerate(aliases):
        run.devices.append(SimulatedDevice(alias, tokens[alias], repeats_result=number % profile.repeat_every == 0))
    run.secrets += tokens.values()

    script = client.admin("GET", "/v1/scripts/enroll.sh", params={"alias": aliases[0]}, request_id=f"{run.tag}-script")
    text = _expect("enroll.sh", script, 200).body.decode()
    if not text.startswith("#!") or any(secret in text for secret in run.secrets):
        raise NotReady("enroll.sh is no script, or holds a secret", Status.FAIL)

    run.package_name = f"com.example.sim{run.id}"
    run.apk = apk(name=run.package_name)
    uploaded = client.admin(
        "POST",
        "/v1/apk/builds",
        params={"package_name": run.package_name, "version_code": 1, "version_name": "1.0.0"},
        headers={"Content-Type": MEDIA_TYPE},
        content=run.apk,
        request_id=f"{run.tag}-upload",
    )
    _expect("APK upload", uploaded, 201)
