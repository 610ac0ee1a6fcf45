"""Parts of the platform that are unmounted: they refuse, in every worker, and the others go on."""

import pytest

from acceptance.access.requests import UNKNOWN
from acceptance.platform.agents import AGENTS
from acceptance.platform.test_rpc import METHODS
from acceptance.platform.uploads import UPLOADS
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from acceptance.system.web_workers import both
from harness.platform.rpc import request
from harness.platform.tasks import SCHEDULER
from harness.platform.zone import EVENTS, RPC, ZONES

CALLS = {
    "files": [("POST", RPC), *(("POST", f"{RPC}/{method}") for method in METHODS[:8])],
    "agents": [
        *(("POST", f"{RPC}/{method}") for method in METHODS[8:]),
        ("GET", AGENTS),
        *(("GET", f"{AGENTS}/worker-7/{part}") for part in ("spec", "status")),
        ("PUT", f"{AGENTS}/worker-7/spec"),
        ("POST", f"{AGENTS}/worker-7/warmup"),
    ],
    "events": [("GET", EVENTS), ("GET", f"{EVENTS}/replay"), ("GET", f"{EVENTS}/stream")],
    "scheduler": [
        *(("POST", f"{SCHEDULER}/{name}") for name in ("submit", "classify", "claim")),
        *(("POST", f"{SCHEDULER}/task/{UNKNOWN}/{name}") for name in ("heartbeat", "complete", "fail", "cancel")),
        *(("GET", f"{SCHEDULER}/{name}") for name in (f"task/{UNKNOWN}", "metrics")),
    ],
    "uploads": [("POST", UPLOADS), *((method, f"{UPLOADS}/{UNKNOWN}") for method in ("HEAD", "PATCH", "DELETE"))],
}
MOUNT = "update bricks set mounted = %(mounted)s, changed_at = now() where name = %(name)s"


@case("bricks/001", "* 503")
@pytest.mark.parametrize("name", CALLS)
def test_an_unmounted_part_refuses(name: str, two_workers: System, platform_of_two: Platform) -> None:
    """Each operation of an unmounted part is a 503 in every worker, from the commit on; others go on (platform.md)."""
    platform = platform_of_two
    zone = platform.zone()
    zone.write("/a", "text")
    platform.write(MOUNT, name=name, mounted=False)
    try:
        with both(two_workers), platform.unchanged():
            for method, path in CALLS[name] * 2:
                body = request("exists", ["/a"]) if method == "POST" else None
                answer = zone.request(method, path, json=body)
                assert answer.status == 503, (method, path)
                if method != "HEAD":
                    refused(answer, 503, "brick_unmounted")
            accepted(zone.request("GET", f"{ZONES}/{zone.zone_id}"))
        if name == "events":
            zone.write("/b", "text")
    finally:
        platform.write(MOUNT, name=name, mounted=True)
    assert [event["path"] for event in zone.log()][1:] == ["/a", "/b"][: 1 + (name == "events")]
    assert zone.read("/a") == b"text"
