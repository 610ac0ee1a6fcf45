"""The suite's exit codes: 0 clean, 1 the product's fault, 2 ours. Schemathesis finds a service that checks nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from contracts import __main__ as command
from contracts import steps, suite
from contracts.fuzz import runner
from contracts.lint import linters
from contracts.steps import Order, Outcome
from contracts.tests.stub import running
from harness.http.openapi import Json
from harness.settings import Target
from harness.tests.fronts import make_authority, recording_proxy, tls_before
from harness.verdict.thresholds import Check, Status


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Target("http://127.0.0.1:1", "k" * 16, "s" * 16, "d", tmp_path, "f", 1).as_env():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("NEXMDM_BACKEND_COMMAND", raising=False)
    monkeypatch.setenv("NEXMDM_ARTIFACTS", str(tmp_path))
    return tmp_path / suite.SUITE


def result(folder: Path) -> Json:
    found: Json = json.loads((folder / "result.json").read_text())
    return found


@pytest.mark.parametrize(
    "status,code", [(Status.PASS, 0), (Status.FAIL, 1), (Status.INCONCLUSIVE, 2)], ids=["pass", "fail", "inconclusive"]
)
def test_exit_code(monkeypatch: pytest.MonkeyPatch, folder: Path, status: Status, code: int) -> None:
    monkeypatch.setattr(steps, "STEPS", {"lint": lambda _: Outcome([Check("lint", "a step", status, "found")])})
    assert command.main(["--only", "lint"]) == code
    assert result(folder)["exit_code"] == code
    assert (folder / "summary.md").is_file()


def test_a_step_that_breaks_is_inconclusive(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def breaks(_: Order) -> Outcome:
        raise RuntimeError("out of ink")

    monkeypatch.setattr(steps, "STEPS", {"lint": breaks})
    assert command.main(["--only", "lint"]) == 2
    assert "out of ink" in result(folder)["reasons"][0]
    assert "RuntimeError" in (folder / "lint.broken.txt").read_text()


def test_findings_fail(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(linters, "findings", lambda: ["line 1: wrong", "line 2: wrong"])
    assert command.main(["--only", "lint"]) == 1
    assert (folder / "lint.txt").read_text() == "line 1: wrong\nline 2: wrong\n"


def test_linter_that_cannot_run_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> None:
        raise linters.LinterUnavailable("no network")

    monkeypatch.setattr(linters, "findings", unavailable)
    assert command.main(["--only", "lint"]) == 2


def test_no_target_is_inconclusive(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "fuzz"]) == 2
    assert "NEXMDM_BASE_URL" in capsys.readouterr().out


def test_code_that_was_not_looked_at_is_disabled_not_passed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    with running() as target:
        for name, value in target.as_env().items():
            monkeypatch.setenv(name, value)
        assert command.main(["--only", "drift"]) == 1
    found = {check["id"]: check["status"] for check in result(folder)["checks"]}
    assert (found["drift/code"], found["drift"]) == ("disabled", "fail")


def test_random_seed_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr(steps, "STEPS", {"lint": lambda _: Outcome([Check("lint", "a step", Status.PASS)])})
    assert command.main(["--only", "lint", "--seed", "random"]) == 0
    assert f"seed {result(folder)['seed']}" in capsys.readouterr().out


@pytest.mark.slow
def test_fuzzer_finds_a_service_that_checks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every operation is left out but one, so that this takes seconds."""
    phases = ("--phases", "examples,coverage,fuzzing", "--include-operation-id", "recordHeartbeat")
    monkeypatch.setattr(runner, "PARTS", {"fuzz": phases})
    said: list[str] = []
    with running() as target:
        code, tally = runner.run(target, tmp_path, examples=5, seed=1, progress=said.append)
    assert code == 1
    names = {failure.split(": ")[1] for failure in tally.failures}
    assert {"negative_data_rejection", "ignored_auth", "unsupported_method"} <= names
    assert tally.answers["recordHeartbeat"]["200"] == tally.answers["recordHeartbeat"].total() > 20
    assert said
    for name in runner.files("fuzz"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert target.admin_key not in text
        assert "nxd_0199c0de" not in text


@pytest.mark.slow
def test_fuzzer_trusts_whom_the_harness_trusts_and_asks_no_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    phases = ("--phases", "examples,fuzzing", "--include-operation-id", "recordHeartbeat")
    monkeypatch.setattr(runner, "PARTS", {"fuzz": phases})
    ca_file, context = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    with running() as target, tls_before(target.base_url, context) as url, recording_proxy() as (proxy, seen):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
            monkeypatch.setenv(name.upper(), proxy)
        _, tally = runner.run(replace(target, base_url=url), tmp_path, examples=2, seed=1, progress=lambda _: None)
    assert seen == []
    assert tally.answers["recordHeartbeat"]["200"] > 0
    assert tally.unanswered == 0


@pytest.mark.slow
def test_fuzzer_that_cannot_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runner, "CONFIG", tmp_path / "nothing.toml")
    monkeypatch.setattr(runner, "PARTS", {"fuzz": ("--phases", "fuzzing")})
    with running() as target, pytest.raises(runner.FuzzerBroken):
        runner.run(target, tmp_path, examples=1, seed=1, progress=lambda _: None)
