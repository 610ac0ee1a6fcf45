"""A zone's stream of events as cases follow it: each message is read as a CloudEvent of its specification."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from acceptance.system.api import Api
from acceptance.system.match import accepted, refused
from harness.http.client import Answer
from harness.platform.stream import Message, Stream, follow
from harness.platform.zone import EVENTS, Zone

STREAM = f"{EVENTS}/stream"


@contextmanager
def following(api: Api, zone: Zone, last_event_id: str | None = None) -> Iterator[Stream]:
    """The zone's stream, which has begun; its answer is judged as any other."""
    headers = [("Authorization", f"Bearer {zone.key}"), ("Accept", "text/event-stream")]
    if last_event_id is not None:
        headers.append(("Last-Event-ID", last_event_id))
    with follow(api.base_url, STREAM, headers) as stream:
        yield stream
    answer = Answer(stream.status, stream.headers, b"", 0.0, stream.headers.get("x-request-id"))
    api.take("GET", STREAM, answer)


def not_followed(zone: Zone, status: int, code: str, last_event_id: str | None = None) -> dict[str, Any]:
    """The problem of a stream that has to be refused. HEAD comes first: it ends even where the stream begins."""
    headers = [] if last_event_id is None else [("Last-Event-ID", last_event_id)]
    head = zone.request("HEAD", STREAM, headers=headers)
    assert head.status == status, f"expected {status} {code}, got {head.status}"
    return refused(zone.request("GET", STREAM, headers=headers), status, code)


def as_listed(message: Message, zone: Zone) -> Any:
    """The event of a message as the list has it. The envelope around it is a CloudEvent with the same facts."""
    parsed = JSONFormat().read(CloudEvent, message.data)
    attributes, event = parsed.get_attributes(), parsed.get_data()
    assert isinstance(event, dict)
    subject = {"subject": event["path"]} if event["path"] else {}
    assert {name: value for name, value in attributes.items() if name != "time"} == subject | {
        "specversion": "1.0",
        "id": event["event_id"],
        "source": f"/zones/{zone.zone_id}",
        "type": f"nexmdm.platform.{event['type']}",
        "datacontenttype": "application/json",
    }
    assert (message.id, message.event) == (str(event["sequence_number"]), event["type"])
    return event


def listed(zone: Zone) -> list[dict[str, Any]]:
    """All events of a short log, oldest first."""
    events: list[dict[str, Any]] = accepted(zone.replay(limit=1000))["events"]
    return events
