"""FCM is away, slow or says no: commands are accepted; each message is sent once in the end, or fails with a reason."""

import pytest

from acceptance.chaos.assertions import Suffer, some_in_the_sample
from acceptance.chaos.experiment import NewScene
from acceptance.chaos.injections import fcm as faults
from acceptance.suite.case import case

# The time-out of an attempt is 1 s here (scene.SETTINGS), so that each of these lasts seconds and not minutes.
AWAY = {
    "FCM down": faults.fcm_down,
    "FCM slow (30 s)": faults.fcm_answers(status=503, error_code="UNAVAILABLE", delay_s=30.0),
    "FCM 429 with Retry-After": faults.fcm_answers(status=429, error_code="QUOTA_EXCEEDED", retry_after=1),
    "FCM 500 storm": faults.fcm_answers(status=500, error_code="INTERNAL"),
    "FCM drops connections": faults.fcm_answers(drop=True),
}


@case("chaos/009")
@pytest.mark.parametrize("name", some_in_the_sample(AWAY, "FCM down", "FCM 500 storm"))
def test_fcm_is_away(name: str, scene: NewScene, suffer: Suffer) -> None:
    """While FCM is down, slow or refuses, every command is accepted; each message is then sent exactly once (001)."""
    suffered = suffer(scene(), name, AWAY[name], times=2, recovers_within_s=10.0, kinds=("result",))
    assert suffered.tally.acknowledged == suffered.tally.asked, "FCM is no reason to refuse a write"


@case("chaos/010")
def test_no_access_token_is_to_be_had(scene: NewScene, suffer: Suffer) -> None:
    """A dispatcher that begins while the token endpoint is down sends everything, once, when it is back (001)."""
    suffered = suffer(
        scene(),
        "token endpoint down",
        faults.token_endpoint_down,
        times=2,
        recovers_within_s=10.0,
        kinds=("result",),
        sends_again=4,  # the dispatcher is killed, so that the next has no access token
    )
    assert suffered.tally.acknowledged == suffered.tally.asked


@case("chaos/011")
def test_half_of_a_fanout_fails(scene: NewScene, suffer: Suffer) -> None:
    """Of a fan-out that half of the devices cannot get, half fail with a reason, the rest is sent once (001)."""
    one, fanouts = scene(), list[str]()
    suffer(one, "half a fan-out UNREGISTERED", faults.half_unregistered(fanouts), times=2, kinds=("result",))
    for request_id in fanouts:
        rows = one.system.db.rows(
            "select status, fcm_status from fcm_dispatches where command_request_id = %s order by ordinal", request_id
        )
        assert [(row["status"], row["fcm_status"]) for row in rows] == [
            ("failed", "UNREGISTERED"),
            ("sent", "OK"),
        ] * (faults.FANOUT // 2)


@case("chaos/012")
@pytest.mark.whole_run
def test_killed_between_sent_and_recorded(scene: NewScene, suffer: Suffer) -> None:
    """A dispatcher that dies before it recorded a send: the device is asked once more, with the same id (README)."""
    # It waits 2 s for FCM's answer, and its lease is 11 s.
    one, tokens = scene(env={"NEXMDM_FCM_TIMEOUT_S": "3"}), list[str]()
    suffer(one, "killed before a send is recorded", faults.killed_before_the_record(tokens), times=2, sends_again=4)
    for token in tokens:
        first, again = one.system.fcm.inbox(token)
        assert first["data"] == again["data"], "a device tells the second by its request_id"
        row = one.system.db.row("select * from fcm_dispatches where request_id = %s", first["data"]["request_id"])
        assert (row["status"], row["attempts"], row["fcm_message_id"]) == ("sent", 2, again["message_id"])
