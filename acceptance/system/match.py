"""Pure matchers over answers: what was accepted, what was refused and by which code.

Does not know the contract (openapi.py) or pytest.
"""

from typing import Any

from harness.http.client import Answer


def accepted(answer: Answer, status: int = 200) -> Any:
    """The JSON body of an answer that must have this success status."""
    assert answer.status == status, f"expected {status}, got {answer.status}: {answer.body[:500]!r}"
    return answer.json()


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer that must refuse with this status and machine-readable code."""
    assert answer.status == status, f"expected {status} {code}, got {answer.status}: {answer.body[:500]!r}"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, f"expected code {code}, got {problem['code']}: {problem}"
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer"), answer.headers
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1, answer.headers
    if status == 422 and code == "validation_error":
        assert problem["errors"], f"422 without errors: {problem}"
    return problem


def pointers(problem: dict[str, Any]) -> set[str]:
    """Which parts of the request a 422 complains of."""
    return {error["pointer"] for error in problem["errors"]}
