"""Who is let in: the table of every kind of caller and every credential, and how each credential is made.

Does not send anything that is judged: test_authorisation.py does.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from acceptance.access.requests import NOTHING, TRACK_ID, Keys, Proof, admin, bearer, both, nobody, signed, track
from acceptance.fleet.apks import new_package, upload
from acceptance.sandboxes.pool import Pool
from acceptance.system import api_keys
from acceptance.system.api_keys import ApiKey
from acceptance.system.match import accepted
from acceptance.system.roles import as_owner
from acceptance.system.system import Enrolled, System, new_alias
from harness.waiting import eventually

ACCEPTED = "accepted"  # let in: an open operation ignores every credential
REPLAYED = "replayed"  # the first answer again, marked as such, and nothing done
NOT_JUDGED = "-"  # the operation does not look at it
# Columns are the callers of operations.CALLS.
_TABLE = """
credential                | device            | enrolment           | download            | admin              | signed                | track              | pool               | zone              | open
no credential             | 401 token_missing | 401 token_missing   | 401 token_missing   | 403 admin_required | 403 admin_required    | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
malformed token           | 401 token_invalid | 401 token_invalid   | 401 token_invalid   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
unknown device's token    | 401 token_invalid | 401 token_invalid   | 401 token_invalid   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
unknown enrolment token   | 401 token_invalid | 401 token_invalid   | 401 token_invalid   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
device token              | accepted          | 401 token_invalid   | 401 token_invalid   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
other device's secret     | 401 token_invalid | 401 token_invalid   | 401 token_invalid   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
retired device's token    | 401 token_invalid | 401 token_invalid   | 401 token_invalid   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
enrolment token           | 401 token_invalid | accepted            | accepted            | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
revoked enrolment token   | 401 token_invalid | 401 token_revoked   | 401 token_revoked   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
expired enrolment token   | 401 token_invalid | 401 token_expired   | 401 token_expired   | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
exhausted enrolment token | 401 token_invalid | 401 token_exhausted | 401 token_exhausted | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
wrong admin key           | 401 token_missing | 401 token_missing   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
empty admin key           | 401 token_missing | 401 token_missing   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
admin key twice           | 401 token_missing | 401 token_missing   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
admin key, unsigned       | 401 token_missing | 401 token_missing   | accepted            | accepted           | 403 signature_missing | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
signature, no admin key   | 401 token_missing | 401 token_missing   | 401 token_missing   | 403 admin_required | 403 admin_required    | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
malformed signature       | 401 token_missing | 401 token_missing   | -                   | -                  | 403 signature_invalid | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
wrong signature           | 401 token_missing | 401 token_missing   | -                   | -                  | 403 signature_invalid | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
old timestamp             | 401 token_missing | 401 token_missing   | -                   | -                  | 403 signature_expired | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
admin key and a token     | accepted          | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
signed by an admin        | 401 token_missing | 401 token_missing   | -                   | -                  | accepted              | 401 token_missing  | 401 token_missing  | 401 token_missing | accepted
API key, unsigned         | 401 token_invalid | 401 token_invalid   | accepted            | accepted           | 403 signature_missing | 403 track_required | accepted           | accepted          | accepted
API key, wrongly signed   | 401 token_invalid | 401 token_invalid   | -                   | -                  | 403 signature_invalid | 403 track_required | -                  | -                 | accepted
API key, signed           | 401 token_invalid | 401 token_invalid   | -                   | -                  | accepted              | 403 track_required | -                  | -                 | accepted
API key and admin key     | 401 token_invalid | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | 403 track_required | accepted           | accepted          | accepted
malformed API key         | 401 token_invalid | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
unknown API key           | 401 token_invalid | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
revoked API key           | 401 token_invalid | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
API key of another role   | 401 token_invalid | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
other service's API key   | 401 token_invalid | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | 401 token_invalid  | 401 token_invalid  | 401 token_invalid | accepted
track's API key           | 401 token_invalid | 401 token_invalid   | 403 admin_required  | 403 admin_required | 403 admin_required    | accepted           | 403 admin_required | 401 token_invalid | accepted
replayed                  | replayed          | 401 token_exhausted | -                   | -                  | replayed              | -                  | -                  | -                 | -
"""  # noqa: E501 - a table is read across


def _read(table: str) -> dict[str, dict[str, str]]:
    head, *lines = ([cell.strip() for cell in line.split("|")] for line in table.strip().splitlines())
    return {line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in lines}


TABLE = _read(_TABLE)


@dataclass(frozen=True)
class Scene:
    """Something real for each operation, so that a request is good but for its credentials."""

    system: System
    device: Enrolled
    token: str
    about: dict[str, str]  # what operations.send asks for; its sandbox is TRACK_ID's
    keys: Keys

    @classmethod
    def of(cls, system: System) -> "Scene":
        device, token, package = system.device(), system.token(), new_package()
        accepted(upload(system.api, package_name=package), 201)
        about = {
            "device_id": device.device_id,
            "token_id": token["token_id"],
            "request_id": system.ping(device),
            "package_name": package,
        }
        keys = Keys()
        if system.stack is not None:
            pool = Pool(system)
            pool.seed()
            about["sandbox_id"] = pool.student(TRACK_ID).allocate().json()["sandbox_id"]
            about["undeletable_id"] = pool.undeletable()
            made = pool.admin("POST", "/api/zones", json={"name": "of a scene"})
            about |= {"zone_id": accepted(made, 201)["zone_id"], "key_name": new_alias()}
            keys = Keys(pool.track_key, pool.admin_key)
        eventually(system.settled, within_s=5.0)
        return cls(system, device, token["token"], NOTHING | about, keys)


def _other_device_s_secret(scene: Scene) -> Proof:
    return bearer(scene.device.token[:-43] + scene.system.somebody.token[-43:])


def _retired(scene: Scene) -> Proof:
    """Two take turns: a refusal makes the service forget a token that it knew, and each operation has to judge one."""
    devices = [scene.system.device() for _ in range(2)]
    for device in devices:
        accepted(scene.system.api.admin("DELETE", f"/v1/devices/{device.device_id}"))
    turns = itertools.cycle(bearer(device.token)(b"") for device in devices)
    return lambda _raw: next(turns)


def _revoked(scene: Scene) -> Proof:
    token = scene.system.token()
    accepted(scene.system.api.admin("DELETE", f"/v1/enroll-tokens/{token['token_id']}"))
    return bearer(token["token"])


def _expired(scene: Scene) -> Proof:
    token = scene.system.token(expires_in_s=1)
    over = "select expires_at < now() from enrollment_tokens where token_id = %s"
    eventually(lambda: scene.system.db.value(over, token["token_id"]), within_s=3.0)
    return bearer(token["token"])


def _exhausted(scene: Scene) -> Proof:
    token = scene.system.token()["token"]
    accepted(scene.system.api.bearer(token, "POST", "/v1/register", json={"agent_version": "1.4.2"}))
    return bearer(token)


def _key(value: str) -> Proof:
    return lambda _raw: [("X-Admin", value)]


def _forged(scene: Scene, change: Callable[[str], str], who: Proof | None = None) -> Proof:
    """An admin's signed request with its signature changed."""
    right = signed(scene.system)
    return both(
        who or admin(scene.system),
        lambda raw: [(name, change(value) if name == "X-Signature" else value) for name, value in right(raw)],
    )


# How each row's credential is made; the last row is a request and not a credential.
CREDENTIALS: dict[str, Callable[[Scene], Proof]] = {
    "no credential": lambda _: nobody,
    "malformed token": lambda _: lambda _raw: [("Authorization", "Bearer nx_?")],  # no secret that is to be masked
    "unknown device's token": lambda _: bearer("nxd_" + "0" * 32 + "_" + "A" * 54),
    "unknown enrolment token": lambda _: bearer("nxe_" + "A" * 43),
    "device token": lambda scene: bearer(scene.device.token),
    "other device's secret": _other_device_s_secret,
    "retired device's token": _retired,
    "enrolment token": lambda scene: bearer(scene.token),
    "revoked enrolment token": _revoked,
    "expired enrolment token": _expired,
    "exhausted enrolment token": _exhausted,
    "wrong admin key": lambda scene: _key(scene.system.target.admin_key[:-1] + "~"),
    "empty admin key": lambda _: _key(""),
    "admin key twice": lambda scene: both(admin(scene.system), admin(scene.system)),
    "admin key, unsigned": lambda scene: admin(scene.system),
    "signature, no admin key": lambda scene: signed(scene.system),
    "malformed signature": lambda scene: _forged(scene, lambda signature: signature.removeprefix("sha256=")),
    "wrong signature": lambda scene: _forged(scene, lambda _: "sha256=" + "0" * 64),
    "old timestamp": lambda scene: both(admin(scene.system), signed(scene.system, age_s=400)),
    "admin key and a token": lambda scene: both(admin(scene.system), bearer(scene.device.token)),
    "signed by an admin": lambda scene: both(admin(scene.system), signed(scene.system)),
}


def api_key(key: ApiKey) -> Proof:
    return bearer(key.secret)


def _used(scene: Scene) -> Proof:
    """A good key whose use was noted already: the next note is a minute away."""
    key = api_keys.create(scene.system)
    assert scene.system.api.bearer(key.secret, "GET", "/v1/devices").status == 200
    return api_key(key)


def _revoked_key(scene: Scene) -> Proof:
    key = api_keys.create(scene.system)
    api_keys.revoke(scene.system, key.name)
    return api_key(key)


def _altered(scene: Scene, change: str) -> Proof:
    """A key whose row was changed. A role that there is not needs the list of roles out of the way."""
    key = api_keys.create(scene.system)
    with as_owner(scene.system) as owner:
        owner.execute("alter table api_keys drop constraint if exists ck_api_keys_role")
        owner.execute(f"update api_keys set {change} where name = '{key.name}'".encode())  # noqa: S608 - both are ours
    return api_key(key)


def forget_altered(system: System) -> None:
    """Take away keys of a role that there is not: what lists keys knows no such role."""
    with as_owner(system) as owner:
        owner.execute("delete from api_keys where role = 'somebody'")


# The rows of API keys: the run makes them in a system that it has started itself.
KEYS: dict[str, Callable[[Scene], Proof]] = {
    "API key, unsigned": _used,
    "API key, wrongly signed": lambda scene: _forged(scene, lambda _: "sha256=" + "0" * 64, _used(scene)),
    "API key, signed": lambda scene: both(_used(scene), signed(scene.system)),
    "API key and admin key": lambda scene: both(_used(scene), admin(scene.system)),
    "malformed API key": lambda scene: bearer(api_keys.create(scene.system).secret + "A"),
    "unknown API key": lambda _: bearer("nxk_" + "A" * 43),
    "revoked API key": _revoked_key,
    "API key of another role": lambda scene: _altered(scene, "role = 'somebody'"),
    "other service's API key": lambda scene: _altered(scene, "services = array['another']"),
    "track's API key": lambda scene: track(scene.keys.track),
}
