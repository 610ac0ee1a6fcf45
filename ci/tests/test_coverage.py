"""The gate must go red for a status without a case, for a reason that is none, and for artifacts that prove nothing.

It uses a contract of two operations, not the real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci import cases, coverage

SPEC = """
paths:
  /v1/devices:
    get: {operationId: listDevices, responses: {"200": {}, "403": {}}}
    post: {operationId: makeDevice, responses: {"507": {x-no-case: no disk of a test is full}}}
  /api/nfs/read:
    post:
      operationId: readFile
      x-rpc-errors: [{code: -32000, data_code: not_found}, {code: -32011, data_code: away, x-no-case: it is never away}]
      responses: {"200": {}}
"""
PAGE = "| `devices/001` | It lists. |\n| `devices/002` | It refuses. |\n| `devices/003` slow | It waits. |\n"
Files = dict[str, Any]


def good() -> Files:
    def case(case_id: str) -> dict[str, Any]:
        return {"case": case_id, "outcome": "passed", "unseen": []}

    return {
        "acceptance-slow/result.json": {"verdict": "pass", "git_sha": "a" * 40},
        "acceptance-slow/matrix.json": {
            "cases": [case("devices/003")],
            "operations": {"listDevices": {"200": ["devices/003"]}},
        },
        "acceptance/result.json": {"verdict": "pass", "git_sha": "a" * 40},
        "contract/result.json": {"verdict": "pass", "git_sha": "a" * 40},
        "acceptance/matrix.json": {
            "cases": [case("devices/001"), case("devices/002")],
            "operations": {
                "listDevices": {"200": ["devices/001"], "403": ["devices/002"]},
                "readFile": {"result": ["devices/001"], "not_found": ["devices/002"], "away": []},
            },
        },
        "contract/coverage.json": {"operations": {"listDevices": {"answers": {"200": 7, "403": 9}}}},
    }


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The exit code of the gate over these artifacts."""
    monkeypatch.setenv("NEXMDM_ARTIFACTS", str(tmp_path))
    monkeypatch.setattr(coverage, "ROOT", tmp_path)
    monkeypatch.setattr(cases, "page", lambda *_: PAGE)
    (tmp_path / "openapi.yaml").write_text(SPEC)

    def run(files: Files, *arguments: str) -> int:
        for name, document in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(json.dumps(document))
        return coverage.main(arguments)

    return run


def test_every_status_with_a_case_or_a_reason_passes(gate: Callable[..., int], tmp_path: Path) -> None:
    assert gate(good()) == 0
    assert "| readFile | away | it is never away | 0 |" in (tmp_path / "coverage" / "summary.md").read_text()
    assert "| makeDevice | 507 | no disk of a test is full | 0 |" in (tmp_path / "coverage" / "summary.md").read_text()


SPOILS: dict[str, tuple[int, Callable[[Files], Any]]] = {
    "a status that only the fuzzer saw": (
        1,
        lambda files: files["acceptance/matrix.json"]["operations"]["listDevices"].update({"403": []}),
    ),
    "a call without a result": (
        1,
        lambda files: files["acceptance/matrix.json"]["operations"]["readFile"].update(result=[]),
    ),
    "an error of a call that no case provokes": (
        1,
        lambda files: files["acceptance/matrix.json"]["operations"]["readFile"].pop("not_found"),
    ),
    "a call of which only the status was seen": (
        1,
        lambda files: files["acceptance/matrix.json"]["operations"].update(readFile={"200": ["devices/001"]}),
    ),
    "a reason for an error that a case provokes": (
        1,
        lambda files: files["acceptance/matrix.json"]["operations"]["readFile"].update(away=["devices/001"]),
    ),
    "a reason for a status that a case provokes": (
        1,
        lambda files: files["acceptance/matrix.json"]["operations"].update(makeDevice={"507": ["devices/001"]}),
    ),
    "a case that declares what it does not see": (
        1,
        lambda files: files["acceptance/matrix.json"]["cases"][0].update(unseen=["listDevices 429"]),
    ),
    "a red acceptance run": (2, lambda files: files["acceptance/result.json"].update(verdict="fail")),
    "a contract run without a verdict": (2, lambda files: files["contract/result.json"].update(verdict="inconclusive")),
    "a partial run": (2, lambda files: files["acceptance/matrix.json"]["cases"].pop()),
    "a disabled case": (2, lambda files: files["acceptance/matrix.json"]["cases"][0].update(outcome="disabled")),
    "runs of two commits": (2, lambda files: files["contract/result.json"].update(git_sha="b" * 40)),
}


@pytest.mark.parametrize("name", SPOILS)
def test_the_gate_goes_red_for(gate: Callable[..., int], name: str) -> None:
    code, spoil = SPOILS[name]
    files = good()
    spoil(files)
    assert gate(files) == code


SLOW_SPOILS: dict[str, tuple[int, Callable[[Files], Any]]] = {
    "a slow case that declares what it does not see": (
        1,
        lambda files: files["acceptance-slow/matrix.json"]["cases"][0].update(unseen=["listDevices 429"]),
    ),
    "a slow run that is red": (2, lambda files: files["acceptance-slow/result.json"].update(verdict="fail")),
    "a slow run of another commit": (2, lambda files: files["acceptance-slow/result.json"].update(git_sha="b" * 40)),
    "a slow case that did not run": (2, lambda files: files["acceptance-slow/matrix.json"]["cases"].pop()),
}


@pytest.mark.parametrize("name", SLOW_SPOILS)
def test_what_the_slow_cases_do_shows_where_they_are_asked_for(gate: Callable[..., int], name: str) -> None:
    code, spoil = SLOW_SPOILS[name]
    files = good()
    assert gate(files, "--slow") == 0
    spoil(files)
    assert gate(files, "--slow") == code
    assert gate(files) == 0


def test_of_selected_slow_cases_none_is_missed(gate: Callable[..., int]) -> None:
    files = good()
    files["acceptance-slow/matrix.json"]["cases"].clear()
    assert gate(files, "--slow", "--selected") == 0
    files["acceptance/matrix.json"]["cases"].pop()
    assert gate(files, "--slow", "--selected") == 2


def test_no_status_may_be_left_to_the_slow_cases(gate: Callable[..., int]) -> None:
    files = good()
    files["acceptance/matrix.json"]["operations"]["listDevices"]["200"] = []
    assert gate(files, "--slow") == 1


@pytest.mark.parametrize("missing", good())
def test_without_an_artifact_nothing_is_said(gate: Callable[..., int], missing: str) -> None:
    assert gate({name: document for name, document in good().items() if name != missing}, "--slow") == 2


def test_the_page_lists_every_case_with_its_requirement(tmp_path: Path) -> None:
    (tmp_path / "test_devices.py").write_text(
        '"""GET /v1/devices: the fleet."""\n@case("devices/001", "listDevices 200")\n@other\n'
        'def test_a(api):\n    """Lists a|b (api.md).\n\n    More."""\ndef helper(): pass\n'
        '@case("devices/002", slow="waits 6 s")\ndef test_b(api):\n    """Waits (api.md)."""\n'
    )
    page = cases.page(tmp_path)
    assert cases.ids(page) == {"devices/001", "devices/002"}
    assert cases.ids(page, slow=False) == {"devices/001"}
    assert "| `devices/002` slow | Waits (api.md). |\n" in page
    assert "GET /v1/devices: the fleet.\n" in page
    assert "| `devices/001` | Lists a/b (api.md). |\n" in page
