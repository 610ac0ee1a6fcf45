"""API keys: named admins beside the one key of the environment, made and revoked by `nexmdm keys`."""

import hashlib
import json
from functools import partial
from typing import Any

import pytest

from acceptance.access.judging import judge_row
from acceptance.access.matrix import KEYS, Scene
from acceptance.access.requests import CALLS, bearer, send
from acceptance.fleet.apks import new_package, upload
from acceptance.operations.test_outages import stopped
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.api_keys import ApiKey
from acceptance.system.match import accepted, refused
from acceptance.system.roles import as_app, as_owner, refusal
from acceptance.system.system import FreshBackend, System, new_alias
from acceptance.system.web_workers import both, race
from harness.http.client import Answer
from harness.oracles.secret_scan import Search
from harness.processes.child import bare_environment, run_to_end
from harness.settings import SECRETS, backend_command

LIST = ("GET", "/v1/devices")
OF_ROW = "select {} from api_keys where name = %s"


def nexmdm_keys(system: System, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `nexmdm keys ARGUMENTS`, run as the owner of the database."""
    return system.running.run("keys", *arguments, env=system.running.owner)


def ask(system: System, key: ApiKey, path: str = "/v1/devices") -> Answer:
    return system.api.bearer(key.secret, "GET", path)


@pytest.fixture(scope="module")
def scene(two_workers: System) -> Scene:
    """What refused requests ask for; only refused ones, so that it stays good."""
    return Scene.of(two_workers)


@case("keys/001", "* 401", "* 403", "* 200")
@pytest.mark.parametrize("credential", KEYS)
def test_each_operation_with_a_key(credential: str, scene: Scene) -> None:
    """A good key opens each operation of an admin, under its name; any other is refused alike (issue 12)."""
    for name, answer in judge_row(credential, KEYS[credential], scene).items():
        if CALLS[name].caller == "track":
            continue
        line = scene.system.logs.expect(answer, "http.request")
        assert line["subject"].startswith("key:key-"), name


@case("keys/002", "listDevices 403")
def test_a_revocation_holds_at_once_in_every_worker(two_workers: System) -> None:
    """A key that both web workers know is refused by both from its revocation on (issue 12)."""
    system, key = two_workers, api_keys.create(two_workers)
    with both(system):
        for _ in range(6):
            accepted(ask(system, key))
        api_keys.revoke(system, key.name)
        with system.unchanged():
            answers = [ask(system, key) for _ in range(6)]
    for answer in answers:
        refused(answer, 403, "admin_required")
        system.logs.expect(answer, "sec.auth.fail", code="admin_required", level="WARNING")


@case("keys/003", "getMetrics 403", "listDevices 403")
def test_a_key_is_good_for_its_services_only(two_workers: System) -> None:
    """A key for one service is refused by the routes of another, and a key for both is not (issue 12)."""
    system = two_workers
    scraper, operator = (api_keys.create(system, [name]) for name in ("operations", "fleet"))
    whole = api_keys.create(system, ["fleet", "operations"])
    assert ask(system, scraper, "/metrics").status == ask(system, whole, "/metrics").status == 200
    accepted(ask(system, operator))
    accepted(ask(system, whole))
    with system.unchanged():
        refused(ask(system, operator, "/metrics"), 403, "admin_required")
        refused(ask(system, scraper), 403, "admin_required")


@case("keys/004", "* 503", slow="stops its PostgreSQL")
def test_without_the_database_no_key_is_let_in(fresh_backend: FreshBackend) -> None:
    """While PostgreSQL is down a key is a 503, good or not, and what has no form of a key a 403 (issue 12)."""
    # This /healthz asks the database for nothing but the key; elsewhere the rate limit would be a 503, too.
    env = {"NEXMDM_HEALTHZ_ADMIN": "true", "NEXMDM_HEALTHZ_DATABASE": "false"}
    system: System = fresh_backend(own_postgres=True, env=env)
    key = api_keys.create(system)
    accepted(ask(system, key))
    accepted(ask(system, key, "/healthz"))
    system.db.close()
    with stopped(system.running.postgres):
        for presented in (key, ApiKey("unknown", f"nxk_{'A' * 43}")):
            for path in ("/v1/devices", "/metrics", "/v1/apk/download-latest", "/healthz"):
                answer = ask(system, presented, path)
                refused(answer, 503, "dependency_unavailable")
                system.logs.expect(answer, "dependency.unavailable", dependency="database", level="ERROR")
        for malformed in (key.secret[:-1], key.secret + "A", key.secret[:-1] + "+", key.secret.upper()):
            refused(ask(system, ApiKey("malformed", malformed)), 403, "admin_required")
    accepted(ask(system, key))


@case("keys/005")
def test_the_use_of_a_key_is_noted_at_most_once_a_minute(two_workers: System) -> None:
    """However many requests a key makes at once, its row is written once a minute; a refusal writes nothing."""
    system, key = two_workers, api_keys.create(two_workers)
    version, used = OF_ROW.format("xmin::text || ctid::text"), OF_ROW.format("now() - last_used_at < interval '5 s'")

    def written(aged_s: int, calls: int = 20) -> bool:
        """Whether requests write the row when its last use was so long ago."""
        with as_owner(system) as owner:
            owner.execute(
                "update api_keys set last_used_at = now() - %s * interval '1 s' where name = %s", [aged_s, key.name]
            )
        before = system.db.value(version, key.name)
        for answer in race(system, [partial(ask, system, key)] * calls):
            accepted(answer)
        return bool(system.db.value(version, key.name) != before)

    assert system.db.value(OF_ROW.format("last_used_at"), key.name) is None
    accepted(ask(system, key))
    assert system.db.value(used, key.name)
    assert not written(50)
    assert written(61)
    assert system.db.value(used, key.name)
    with system.unchanged():
        accepted(ask(system, key))
        refused(ask(system, ApiKey("wrong", f"nxk_{'B' * 43}")), 403, "admin_required")


@case("keys/006", "createEnrollTokens 200", "downloadLatestApk 200")
def test_what_a_key_does_carries_its_name(two_workers: System) -> None:
    """Log lines, tokens and downloads name the key that asked, `key:<name>`, and never the key (issue 12)."""
    system, key = two_workers, api_keys.create(two_workers)
    subject = f"key:{key.name}"
    body = {"aliases": [new_alias()]}
    answer = system.api.bearer(key.secret, "POST", "/v1/enroll-tokens", json=body)
    token_id = accepted(answer)["tokens"][0]["token_id"]
    for event in ("sec.token.create", "db_operation", "http.request"):
        assert system.logs.expect(answer, event)["subject"] == subject
    assert system.db.value("select issued_by from enrollment_tokens where token_id = %s", token_id) == subject
    package = new_package()
    build = accepted(upload(system.api, package_name=package), 201)["build_id"]
    download = ask(system, key, f"/v1/apk/download-latest?package_name={package}&source=ci")
    assert download.status == 200
    system.logs.expect(download, "apk.download", subject=subject, source="ci")
    event = "select admin_user from apk_download_events where build_id = %s"
    assert system.db.value(event, build) == subject
    mine = system.api.admin(*LIST)
    assert system.logs.expect(mine, "http.request")["subject"] == "admin"
    others = system.api.request(*LIST)
    assert "subject" not in system.logs.expect(others, "http.request")
    assert "subject" not in system.logs.expect(others, "sec.auth.fail")
    assert not Search(SECRETS.known()).text(system.logs.tap.path.read_text())


@case("keys/007")
def test_only_the_hash_of_a_key_is_stored(two_workers: System) -> None:
    """The database holds a key's SHA-256 and nothing that it could be made from (api.md: a token is shown once)."""
    code, said = nexmdm_keys(two_workers, "create", f"ci-{new_alias()}", "--role", "admin")
    assert code == 0
    key = ApiKey(json.loads(said)["name"], json.loads(said)["key"])
    SECRETS.add(key.secret)
    row = two_workers.db.row("select * from api_keys where name = %s", key.name)
    assert row.pop("key_hash") == hashlib.sha256(key.secret.encode()).hexdigest()
    assert key.secret[4:] not in repr(row)
    assert {name: row[name] for name in ("role", "services", "zone", "revoked_at")} == {
        "role": "admin",
        "services": None,
        "zone": None,
        "revoked_at": None,
    }


@case("keys/008", slow="starts a dozen commands")
def test_the_life_of_a_key_on_the_command_line(two_workers: System) -> None:
    """A key is printed once, listed without it, revoked by name; each mistake is one line, exit code 1 (issue 12)."""
    system, run = two_workers, partial(nexmdm_keys, two_workers)
    name = f"ci-{new_alias()}"
    code, said = run("create", name, "--role", "admin", "--services", "fleet")
    made: dict[str, Any] = json.loads(said)
    key = ApiKey(name, made.pop("key"))
    SECRETS.add(key.secret)
    assert code == 0
    assert (made["name"], made["role"], made["services"]) == (name, "admin", ["fleet"])
    accepted(ask(system, key))

    def listed() -> dict[str, Any]:
        code, said = run("list")
        assert code == 0
        assert "key_hash" not in said
        assert key.secret not in said
        [found] = [one for one in json.loads(said) if one["name"] == name]
        return dict(found)

    assert listed() == made | {"last_used_at": listed()["last_used_at"]}
    assert listed()["last_used_at"] is not None
    with system.unchanged():
        for arguments, reason in (
            (("create", name, "--role", "admin"), f"there is already a key {name}"),
            (("create", "other", "--role", "root"), "there is no role 'root'; there is admin"),
            (("create", "other", "--role", "admin", "--services", "fleet,flet"), "there is no service 'flet'"),
            (("create", "no name", "--role", "admin"), "a name is 1 to 64"),
            (("revoke", "nobody"), "there is no key 'nobody'"),
        ):
            code, said = run(*arguments)
            assert (code, len(said.splitlines())) == (1, 1), said
            assert said.startswith("nexmdm: "), said
            assert reason in said
    code, said = run("revoke", name)
    assert code == 0
    assert json.loads(said) == listed()
    assert listed()["revoked_at"] is not None
    assert run("revoke", name) == (code, said), "the first revocation stays"
    refused(ask(system, key), 403, "admin_required")
    assert "already a key" in run("create", name, "--role", "admin")[1]


@case("keys/009", "listDevices 429", "createEnrollTokens 429")
def test_each_key_has_a_rate_limit_of_its_own(fresh_backend: FreshBackend) -> None:
    """The limits of admins count each key apart, and the key of the environment apart from them (issue 12)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_ADMIN": "3/3600", "NEXMDM_LIMIT_TOKEN_CREATE": "1/3600"})
    one, other = api_keys.create(system), api_keys.create(system)

    def issue(key: ApiKey) -> Answer:
        return system.api.bearer(key.secret, "POST", "/v1/enroll-tokens", json={"aliases": [new_alias()]})

    for key in (one, other):
        accepted(issue(key))
        limited = issue(key)
        refused(limited, 429, "rate_limited")
        system.logs.expect(limited, "sec.token.ratelimit", rule="token_create", subject=f"key:{key.name}")
        accepted(ask(system, key))
        limited = ask(system, key)
        refused(limited, 429, "rate_limited")
        system.logs.expect(limited, "sec.token.ratelimit", rule="admin", subject=f"key:{key.name}")
    accepted(system.api.admin(*LIST))
    subjects = {row["subject"] for row in system.db.rows("select subject from rate_limits where rule = 'admin'")}
    assert subjects == {"admin", f"key:{one.name}", f"key:{other.name}"}


@case("keys/010", "listDevices 429")
def test_an_address_that_keeps_trying_keys_is_limited(fresh_backend: FreshBackend) -> None:
    """Wrong keys count as failed authentications of their address; a good key is let in all the same (issue 12)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_AUTH_FAIL": "3/3600"})
    key = api_keys.create(system)
    wrong = [ApiKey("wrong", f"nxk_{number:043}") for number in range(5)]
    for one in wrong[:3]:
        refused(ask(system, one), 403, "admin_required")
    for one in wrong[3:]:
        limited = ask(system, one)
        refused(limited, 429, "rate_limited")
        system.logs.expect(limited, "sec.token.ratelimit", rule="auth_fail")
    accepted(ask(system, key))


@case("keys/011")
@pytest.mark.usefixtures("app_role")
def test_the_services_role_makes_keys_of_zones_alone(two_workers: System) -> None:
    """The service's role makes keys of zones alone; to make another, or one good again, takes the owner (issue 12)."""
    system, key = two_workers, api_keys.create(two_workers)
    api_keys.revoke(system, key.name)
    with as_app(system) as app, system.unchanged():
        for statement in (
            f"insert into api_keys (name, role, key_hash) values ('mine', 'admin', '{'a' * 64}')",
            f"insert into api_keys (name, role, key_hash) values ('mine', 'track', '{'a' * 64}')",
            f"update api_keys set key_hash = '{'a' * 64}'",
            "update api_keys set role = 'admin'",
            "update api_keys set zone = 'root'",
            "delete from api_keys",
        ):
            assert refusal(app, statement) == "42501", statement
        app.execute("update api_keys set revoked_at = null")
        code, said = system.running.run("keys", "create", "mine", "--role", "admin")
    assert (code, said) == (1, "nexmdm: the database refused: only the owner makes keys that are good for every zone\n")
    assert send(system.api, "listDevices", bearer(key.secret)).status == 403


@case("keys/012", slow="starts four commands")
@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"], ids=["full", "closed"])
def test_a_key_that_cannot_be_printed_is_not_made(stdout: str, two_workers: System) -> None:
    """Where stdout takes nothing, no admin key is left that nobody holds, and its name is free (issue 12)."""
    name = f"ci-{new_alias()}"
    create = [backend_command(), "keys", "create", name, "--role", "admin"]
    env = bare_environment(two_workers.running.owner)
    with two_workers.unchanged():
        code, said = run_to_end(["sh", "-c", f'exec "$0" "$@" {stdout}', *create], env=env, within_s=30.0)
    assert (code, len(said.splitlines())) == (1, 1), said
    assert nexmdm_keys(two_workers, "create", name, "--role", "admin")[0] == 0
