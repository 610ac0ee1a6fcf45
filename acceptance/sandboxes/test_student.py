"""docs/student.md: the life of a student by curl, sent as it stands there."""

from pathlib import Path
from typing import Any

import pytest

from acceptance.sandboxes.pool import ACCOUNTS, Pool
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.curl_page import send, steps

PAGE = Path(__file__).parents[2] / "docs" / "student.md"


def but_times(body: dict[str, Any]) -> dict[str, Any]:
    """The body, with a word where a time stands."""
    return {
        name: "a time" if name.endswith("_at") and isinstance(value, int) else value for name, value in body.items()
    }


@case("student/001", "allocateSandbox 201", "extendSandbox 200", "releaseSandbox 200", "getCurrentAllocation 404")
@pytest.mark.usefixtures("logs")
def test_the_page_is_true(api: Api, pool: Pool) -> None:
    """Each request of docs/student.md is answered as the page says."""
    told = steps(PAGE.read_text(encoding="utf-8"))
    assert len(told) == 10
    for step in told:
        if step.status == 201:  # the pool has the sandbox that the page tells of, and no other
            one = step.body
            pool.seed_listed([{"csp_id": one["sandbox_id"], "id": one["external_id"], "name": one["name"]}])
            assert one["external_id"].startswith(ACCOUNTS)
        body = send(api, step, TRACK_KEY=pool.track_key).json()
        if step.status >= 400:
            assert body["code"] == step.body["code"]
            assert body.keys() >= step.body.keys()
        else:
            assert but_times(body) == but_times(step.body)
