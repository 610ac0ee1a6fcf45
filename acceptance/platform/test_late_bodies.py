"""Callers who are no longer good once their body has arrived, and requests that would cost more than they are worth."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from acceptance.platform.zones import MIB, Platform, denied
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.match import accepted
from harness.http.client import Answer
from harness.http.raw_http import Sockets, answers, request
from harness.platform.rpc import request as call
from harness.platform.zone import Zone

LATE = 5  # bytes of the body


@contextmanager
def half_sent(
    platform: Platform, key: str, zone_id: str, method: str, **params: object
) -> Iterator[Callable[[], Answer]]:
    """A call whose last bytes are yet to come; the function sends them and gives the answer."""
    path = f"/api/nfs/{method}"
    body = json.dumps(call(method, params)).encode()
    headers = (("Authorization", f"Bearer {key}"), ("X-Nexus-Zone-ID", zone_id), ("Content-Type", "application/json"))
    whole = request(f"POST {path}", *headers, body=body)
    with Sockets(platform.system.target.base_url).connect() as connection:
        connection.sendall(whole[:-LATE])

        def finish() -> Answer:
            connection.sendall(whole[-LATE:])
            received = b""
            while not received or not received.rpartition(b"\r\n\r\n")[2]:
                received += connection.recv(65536)
            [answer] = answers(received)
            return platform.system.api.take("POST", path, answer)

        yield finish


@case("late-bodies/001", "writeFile 401", "readFile 401", "deleteFile 401")
def test_a_key_that_is_revoked_before_the_body_has_arrived_does_nothing(platform: Platform) -> None:
    """A revoked key is refused at once, also where its request had begun before (004: namespace/003)."""
    zone = platform.zone()
    zone.write("/there", "1")
    for method, params in (
        ("write", {"path": "/late", "content": "2"}),
        ("read", {"path": "/there"}),
        ("delete", {"path": "/there"}),
    ):
        key = platform.named_key("member", zone.zone_id)
        with half_sent(platform, key.secret, zone.zone_id, method, **params) as finish:
            accepted(platform.admin("DELETE", f"/api/keys/{key.name}"))
            with platform.unchanged():
                answer = finish()
        assert (answer.status, answer.json()["code"]) == (401, "token_invalid"), method
    assert zone.paths() == ["/there"]


@case("late-bodies/002", "writeFile 409", "readFile 409")
def test_a_call_does_not_reach_a_later_zone_of_the_same_id(platform: Platform) -> None:
    """The id of a zone may be used again, and sees nothing of what was begun before (004: namespace/005)."""
    for method, params in (
        ("write", {"path": "/late", "content": "2"}),
        ("write", {"path": "/large", "content": "x" * (MIB // 8)}),
        ("read", {"path": "/secret"}),
    ):
        zone = platform.zone()
        with half_sent(platform, platform.admin_key, zone.zone_id, method, **params) as finish:
            platform.remove(zone.zone_id)
            later = platform.zone(zone.zone_id)
            later.write("/secret", "of the new tenant")
            answer = finish()
        assert answer.status == 409 or "error" in answer.json(), answer.body
        assert b"new tenant" not in answer.body
        assert later.paths() == ["/secret"]
        platform.adds_up(zone.zone_id)
        platform.loses_nothing(zone.zone_id)


@case("late-bodies/003")
def test_a_tree_that_is_removed_while_others_write_gives_back_what_it_had(platform: Platform) -> None:
    """What is used is what the rows add up to, whatever rmdir and writes do to each other (004: namespace/004)."""
    zone = platform.zone()
    with platform.apart(zone) as mine:

        def write(number: int) -> None:
            for turn in range(12):
                mine.call("write", path=f"/d/{number}", content="x" * (100 + turn))

        def remove() -> None:
            for _ in range(12):
                mine.call("rmdir", path="/d", recursive=True)

        writers: list[Callable[[], None]] = [partial(write, number) for number in range(4)]
        at_once([*writers, remove, remove])
    platform.adds_up(zone.zone_id)


@case("late-bodies/004", "listDirectory invalid_params", "writeFile invalid_params")
def test_more_parameters_than_there_are_cost_nothing(zone: Zone) -> None:
    """A million members of the params, or of a content, are refused without being looked at one by one."""
    many = {str(number): 1 for number in range(20_000)}
    assert denied(zone, -32602, "invalid_params", "list", **many).data["errors"] == []
    assert denied(zone, -32602, "invalid_params", "write", path="/a", content=many).data["errors"] == []


@case("late-bodies/005", "callBatch too_large")
def test_a_batch_answers_with_no_more_than_two_whole_reads(zone: Zone) -> None:
    """What a batch reads in all is bounded: a small request makes no answer of a gigabyte."""
    zone.write("/large", "x" * (7 * MIB))
    reads = [call("read", {"path": "/large"}, number) for number in range(3)]
    told = accepted(zone.batch(reads))
    assert ["result" in one for one in told] == [True, False, False]
    assert [one["error"]["data"]["code"] for one in told[1:]] == ["too_large", "too_large"]
