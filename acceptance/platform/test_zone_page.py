"""docs/zone.md: the life of a zone by curl, sent as it stands there."""

from pathlib import Path
from typing import Any

import pytest

from acceptance.platform.zones import Platform, new_zone_id
from acceptance.suite.case import case
from acceptance.system.curl_page import send, steps
from harness.settings import SECRETS

PAGE = Path(__file__).parents[2] / "docs" / "zone.md"


def holds(found: Any, told: Any) -> bool:
    """Whether an answer says everything that the page says of it."""
    if isinstance(told, dict):
        return isinstance(found, dict) and all(name in found and holds(found[name], told[name]) for name in told)
    if isinstance(told, list):
        return len(found) == len(told) and all(map(holds, found, told))
    return bool(found == told)


@case("zone-page/001", "createZone 201", "createKey 201", "writeFile result", "replayEvents 200", "deleteZone 202")
@pytest.mark.usefixtures("logs")
def test_the_page_is_true(platform: Platform) -> None:
    """Each request of docs/zone.md is answered as the page says."""
    zone_id, keys = new_zone_id(), {"ADMIN_KEY": platform.admin_key, "ZONE_KEY": ""}
    told = steps(PAGE.read_text(encoding="utf-8").replace("lab-7", zone_id))
    assert len(told) == 9
    for step in told:
        body = send(platform.system.api, step, **keys).json()
        if "key" in body:
            keys["ZONE_KEY"] = body["key"]
            SECRETS.add(body["key"])
            body["key"] = step.body["key"]
        assert holds(body, step.body), (step.line, body)
    platform.gone(zone_id)
