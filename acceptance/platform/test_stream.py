"""The stream of events: CloudEvents in order, from now on or from a known one, at every worker, until its end."""

import time
from contextlib import ExitStack

import pytest

from acceptance.platform.streams import STREAM, as_listed, following, listed, not_followed
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.match import accepted
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import only, web_processes
from harness.platform.zone import ZONES, Zone
from harness.waiting import eventually

STREAMS = "nexmdm_platform_streams"


@case("stream/001", "streamEvents 200")
def test_changes_arrive_as_cloudevents(system: System, zone: Zone) -> None:
    """Who follows a zone gets each later change once, in order, as a CloudEvent with the event as listed (issue 16)."""
    zone.write("/before", "text")
    with following(system.api, zone) as stream:
        assert stream.headers["content-type"].partition(";")[0] == "text/event-stream"
        zone.write("/a", "text")
        zone.rpc("rename", old_path="/a", new_path="/b")
        zone.rpc("delete", path="/b")
        messages = stream.take(3)
        assert [as_listed(one, zone) for one in messages] == listed(zone)[2:]
    lines = [system.logs.wait(f"platform.stream.{end}", zone_id=zone.zone_id) for end in ("opened", "closed")]
    assert len({line["request_id"] for line in lines}) == 1


@case("stream/002", "streamEvents 200", "streamEvents 410", "streamEvents 422")
def test_a_stream_goes_on_where_another_ended(system: System, zone: Zone, platform: Platform) -> None:
    """With the last id that was seen a stream begins behind it; one that is no longer kept is a 410 (issue 16)."""
    for number in range(2, 8):
        zone.write(f"/{number}", "text")
    with following(system.api, zone, "3") as stream:
        assert [as_listed(one, zone) for one in stream.take(4)] == listed(zone)[3:]
        zone.write("/8", "text")
        assert [one.id for one in stream.take(1)] == ["8"]
    platform.write("delete from events where zone_id = %(zone)s and sequence_number <= 5", zone=zone.zone_id)
    expired = not_followed(zone, 410, "cursor_expired", "3")
    assert expired["first_available"] == 6
    with platform.unchanged():
        for wrong in ("x", "-1", "1.5", "9" * 40, "99"):
            not_followed(zone, 422, "validation_error", wrong)


@case("stream/003", "streamEvents 200")
@pytest.mark.parametrize("end", ["key", "zone", "later zone"])
def test_a_stream_ends_with_what_it_stands_on(end: str, system: System, platform: Platform) -> None:
    """A stream ends when its key is revoked, and when its zone ends, also for one of the same id (issue 16)."""
    zone = platform.zone()
    key = api_keys.create(system, role="member", zone=zone.zone_id)
    reader = Zone(system.api, key.secret, zone.zone_id)
    with following(system.api, reader) as stream:
        zone.write("/a", "text")
        stream.take(1)
        if end == "key":
            api_keys.revoke(system, key.name)
            assert stream.rest() == []
            zone.write("/b", "text")
        elif end == "later zone":
            platform.write("update zones set uid = gen_random_uuid() where zone_id = %(zone)s", zone=zone.zone_id)
            zone.write("/b", "text")
            assert stream.rest() == []
        else:
            accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
            assert [one.event for one in stream.rest()] in ([], ["zone.terminating"])
    if end == "zone":
        platform.gone(zone.zone_id)


@case("stream/004", "streamEvents 200")
def test_a_stream_sees_every_worker(two_workers: System, platform_of_two: Platform) -> None:
    """A stream at one worker shows what is written at another, too (issue 16)."""
    zone = platform_of_two.zone()
    first, second = web_processes(two_workers)
    with ExitStack() as opened:
        with only(two_workers, first):
            stream = opened.enter_context(following(two_workers.api, zone))
            zone.write("/a", "text")
        with only(two_workers, second):
            zone.write("/b", "text")
        assert [one.id for one in stream.take(2, within_s=2.0)] == ["2", "3"]


@case("stream/005", "streamEvents 200", "streamEvents 503")
def test_there_are_only_so_many_streams(sweeping: Platform) -> None:
    """Beyond the number that a process may hold a stream is a 503; the open ones are counted, and go on (api)."""
    system, zones = sweeping.system, [sweeping.zone() for _ in range(3)]
    with following(system.api, zones[0]) as one, following(system.api, zones[1]) as other:
        eventually(lambda: system.metrics.total(STREAMS) == 2, within_s=2.0)
        not_followed(zones[2], 503, "overloaded")
        for zone, stream in zip(zones, (one, other), strict=False):
            zone.write("/a", "text")
            assert stream.take(1)[0].id == "2"
    eventually(lambda: system.metrics.total(STREAMS) == 0, within_s=2.0)
    with following(system.api, zones[2]):
        pass


@case("stream/008", "streamEvents 200", "streamEvents 503")
def test_a_zone_has_half_of_the_streams(sweeping: Platform) -> None:
    """One zone's streams leave half of a process's to the others, also after some have ended (issue 16)."""
    system, busy, other = sweeping.system, sweeping.zone(), sweeping.zone()
    for _ in range(2):
        with following(system.api, busy):
            not_followed(busy, 503, "overloaded")
            with following(system.api, other):
                pass
        eventually(lambda: system.metrics.total(STREAMS) == 0, within_s=2.0)


@case("stream/006", "streamEvents 200", slow="waits 15 s, and ends its backend")
def test_a_silent_stream_lives_and_ends_in_order(fresh_backend: FreshBackend) -> None:
    """A stream without events has a comment every 15 s; it does not keep the service from ending (platform.md)."""
    system: System = fresh_backend()
    zone = Platform(system).zone()
    with following(system.api, zone) as stream:
        eventually(lambda: stream.comments.count("ping") == 1, within_s=18.0)
        asked = time.monotonic()
        assert system.running.backend.stop() == 0
        assert time.monotonic() - asked < 4.0, "it waits for streams until its time for requests is up"
        assert stream.rest() == []


@case("stream/007")
def test_the_head_of_a_stream_ends(system: System, zone: Zone) -> None:
    """HEAD of a stream has the status and type of the stream, and ends (RFC 9110, 9.3.2)."""
    answer = zone.request("HEAD", STREAM)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    eventually(lambda: system.metrics.total(STREAMS) == 0, within_s=2.0)
