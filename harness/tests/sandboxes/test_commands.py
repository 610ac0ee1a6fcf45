"""The commands of operators: what they say, what they leave, and their exit codes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness.provider.server import ProviderServer
from harness.sandboxes import __main__ as command
from harness.sandboxes import seeding
from harness.sandboxes.__main__ import main
from harness.sandboxes.calls import write_calls
from harness.tests.sandboxes.conftest import Database
from harness.tests.sandboxes.history import COUNT, LABEL, History


@pytest.fixture(autouse=True)
def _artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXMDM_ARTIFACTS", str(tmp_path))


@pytest.fixture
def run(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    made = History(database)
    made.go()
    write_calls(tmp_path / "calls.csv.gz", made.calls)
    monkeypatch.setenv("DATABASE_URL", database.reader_url)
    return made


def test_seed_verify_remove(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    assert main(["seed", "--count", "200", "--label", "x"]) == 0
    assert "seeded 200 sandboxes" in capsys.readouterr().out
    assert main(["seed", "--count", "200", "--label", "x"]) == 2
    assert "label x: has sandboxes already" in capsys.readouterr().out
    assert main(["verify", "--label", "x", "--seeded", "200"]) == 2, "nothing was allocated"
    assert json.loads((tmp_path / "pool" / "result.json").read_text())["verdict"] == "inconclusive"
    assert main(["remove", "--label", "x"]) == 0
    assert "removed 200 sandboxes" in capsys.readouterr().out
    assert database.execute("SELECT count(*) FROM sandboxes") == [(0,)]


def test_verify_asks_the_fake_provider_and_leaves_a_result(
    run: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["verify", "--label", LABEL, "--seeded", str(COUNT), "--calls", str(tmp_path / "calls.csv.gz")]
    with ProviderServer.start() as provider:
        arguments += ["--provider-url", provider.control.url]
        assert main(arguments) == 1
        assert "which the provider has never said" in capsys.readouterr().out
        its_id = run.provider.deletions[0]["id"]
        headers = {"Authorization": f"Token {provider.token}"}
        url = f"{provider.url}/sandbox/accounts/{its_id}"
        request = urllib.request.Request(url, method="DELETE", headers=headers)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(request)
        assert main(arguments) == 0
    result = json.loads((tmp_path / "pool" / "result.json").read_text())
    assert [check["status"] for check in result["checks"]] == ["pass"] * 10
    assert result["facts"]["lab lab-a"] == "3 allocations: 2 live, 1 released, 0 expired, 0 revoked"
    assert "V9  pass" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, url, said",
    [
        (["remove", "--label", "x"], None, "DATABASE_URL: not set"),
        (["remove", "--label", "x"], "postgresql://db.example.com/x", "looks like production"),
        (["remove", "--label", "x"], "postgresql://x:secret-word@127.0.0.1:1/x", "DATABASE_URL: connection"),
        (["remove", "--label", "X"], "postgresql://127.0.0.1:1/x", "label 'X': 1 to 40"),
        (["verify", "--calls", "/gone"], "postgresql://127.0.0.1:1/x", "--calls /gone: no record of calls"),
    ],
)
def test_bad_input(
    arguments: list[str],
    url: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    if url:
        monkeypatch.setenv("DATABASE_URL", url)
    assert main(arguments) == 2
    out = capsys.readouterr().out
    assert said in out
    assert "secret-word" not in out


def test_what_the_database_refuses_is_told_in_a_line(
    run: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["remove", "--label", LABEL]) == 2
    assert "in a read-only transaction" in capsys.readouterr().out
    run.plant("ALTER TABLE allocations RENAME TO other")
    assert main(["verify"]) == 2
    assert 'relation "allocations" does not exist' in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["seed", "--label", "x"], ["verify", "--seeded", "1"]])
def test_a_wrong_command_line(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_ctrl_c_says_what_is_left(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(done: int, _of: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.setattr(seeding, "_BATCH", 5)
    monkeypatch.setattr(command, "_told", lambda *_: interrupted)
    assert main(["seed", "--count", "20", "--label", "x"]) == 130
    assert "`remove` takes what is left of the label" in capsys.readouterr().out
    assert database.execute("SELECT count(*) FROM sandboxes") == [(10,)]
