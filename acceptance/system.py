"""One system under test with everything a case may look into: its API, log, database, metrics and FCM inbox.

Does not start anything (stacks.py does) and holds no assertion about a particular endpoint.
"""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from acceptance.answers import accepted
from acceptance.contract import Contract
from acceptance.database import Database
from acceptance.measures import Metrics
from harness.client import Answer, Client, HttpxTransport
from harness.device import Device
from harness.fcm import FcmControl
from harness.logs import LogTap, matches
from harness.settings import SECRETS, Target
from harness.stack import Stack
from harness.waiting import eventually

UNMATCHED = "unmatched"  # the route of a path outside the contract


@dataclass(frozen=True)
class Judged:
    """One answer that the contract has accepted."""

    operation: str | None
    method: str
    route: str
    answer: Answer


class Api(Client):
    """The HTTP client of the harness, every answer of which is judged against openapi.yaml."""

    transport: HttpxTransport

    def __init__(self, target: Target) -> None:
        super().__init__(HttpxTransport(target.base_url), target.admin_key, target.hmac_secret, keep=60)
        self.contract = Contract.load()
        self.judged: list[Judged] = []
        self._lock = threading.Lock()

    def request(self, method: str, path: str, **request: Any) -> Answer:
        return self.take(method, path, super().request(method, path, **request))

    def begin(self) -> None:
        """A new case: what came before is not its business, nor its failure report's."""
        self.judged.clear()
        self._exchanges.clear()

    def reconnect(self) -> None:
        """Go on with new connections."""
        self.transport.close()
        self.transport = HttpxTransport(self.base_url)

    def take(self, method: str, path: str, answer: Answer) -> Answer:
        """Judge and remember an answer, also one that came without the client's help."""
        found = self.contract.judge(method, path, answer.status, answer.headers, answer.body)
        route = self.contract.route(path) or UNMATCHED
        with self._lock:
            self.judged.append(Judged(found.operation_id if found else None, method, route, answer))
        return answer

    def scrape(self) -> str:
        """The text of /metrics."""
        return self.admin("GET", "/metrics").body.decode()


class Logs:
    """The log lines that the current case has caused."""

    def __init__(self, tap: LogTap, api: Api) -> None:
        self.tap = tap
        self._api = api
        self._mark = tap.mark()

    def begin(self) -> None:
        self._mark = self.tap.mark()

    def since(self) -> list[dict[str, Any]]:
        return self.tap.since(self._mark)

    def of(self, answer: Answer, event: str) -> list[dict[str, Any]]:
        """Every line of this event that carries the answer's request id."""
        return [line for line in self.since() if matches(line, event, {"request_id": answer.request_id})]

    def expect(self, answer: Answer, event: str, **fields: Any) -> dict[str, Any]:
        """The line of this event under the answer's request id and route; fails when there is none."""
        route = next(one.route for one in reversed(self._api.judged) if one.answer is answer)
        return self.wait(event, request_id=answer.request_id, route=route, **fields)

    def wait(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first line of this event with these fields, also from outside requests."""
        return self.tap.wait_for(event, since=self._mark, **fields)

    def complete(self) -> bool:
        """Fails unless each judged request has exactly one http.request line with its method, status and route."""
        found: dict[Any, list[dict[str, Any]]] = {}
        for line in self.since():
            if line["event"] == "http.request":
                found.setdefault(line["request_id"], []).append(line)
        for one in self._api.judged:
            wanted = {"method": one.method, "status": one.answer.status, "route": one.route}
            lines = [line for line in found.get(one.answer.request_id, []) if matches(line, "http.request", wanted)]
            assert lines, f"no http.request line with {wanted} for request id {one.answer.request_id}"
            repeated = sum(other.answer.request_id == one.answer.request_id for other in self._api.judged)
            assert len(lines) <= repeated, f"{len(lines)} http.request lines for request id {one.answer.request_id}"
        return True


@dataclass(frozen=True, eq=False)
class Enrolled:
    """A device that a case enrolled, and the answer that told it so."""

    simulated: Device
    device_id: str
    token: str
    answer: Answer

    @property
    def alias(self) -> str:
        return self.simulated.alias

    @property
    def fcm_token(self) -> str:
        return self.simulated.fcm_token

    def heartbeat(self, **fields: Any) -> Answer:
        return self.simulated.heartbeat(**fields)

    def complete(self, request_id: str, outcome: str = "ok", **fields: Any) -> Answer:
        return self.simulated.complete(request_id, outcome, **fields)


@dataclass(repr=False)  # pytest prints the arguments of a failing case, and the target holds secrets
class System:
    """The system that a case speaks to. What the run was not given raises on use; such cases are disabled."""

    target: Target
    api: Api
    metrics: Metrics
    stack: Stack | None = None
    _db: Database | None = None
    _logs: Logs | None = None
    _fcm: FcmControl | None = None

    @classmethod
    def of(cls, target: Target, stack: Stack | None = None) -> "System":
        SECRETS.add(target.admin_key, target.hmac_secret)
        api, url = Api(target), target.database_url
        if url and stack is not None:
            url = stack.postgres.reader_url(url)
        return cls(
            target,
            api,
            Metrics(api.scrape),
            stack,
            Database(url) if url else None,
            Logs(LogTap(target.log_file), api) if target.log_file else None,
            FcmControl(target.fcm_url) if target.fcm_url else None,
        )

    @property
    def db(self) -> Database:
        assert self._db is not None
        return self._db

    @property
    def logs(self) -> Logs:
        assert self._logs is not None
        return self._logs

    @property
    def fcm(self) -> FcmControl:
        assert self._fcm is not None
        return self._fcm

    @property
    def running(self) -> Stack:
        assert self.stack is not None
        return self.stack

    def close(self) -> None:
        self.api.transport.close()
        if self._db is not None:
            self._db.close()

    def begin(self) -> None:
        """A new case: forget the answers and log lines of the one before."""
        self.api.begin()
        if self._logs is not None:
            self._logs.begin()

    def check_log(self) -> None:
        """Every request of the case has its access line; the last may trail its answer a little."""
        if self._logs is not None:
            eventually(self._logs.complete, 3.0, what="an http.request line for every request")

    def tokens(self, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """Enrolment tokens for aliases of their own; fields: expires_in_s, uses_allowed, scope, note, aliases."""
        body = {"aliases": [new_alias() for _ in range(count)], **fields}
        return list(accepted(self.api.admin("POST", "/v1/enroll-tokens", json=body))["tokens"])

    def token(self, **fields: Any) -> dict[str, Any]:
        return self.tokens(1, **fields)[0]

    def ping(self, device: Enrolled) -> str:
        """The request id of a new command; with an id of its own two of one second are never taken for a replay."""
        body = {"request_id": f"cmd-{uuid.uuid4().hex}", "device_id": device.device_id, "action": "ping"}
        return str(accepted(self.api.command(body))["request_id"])

    def device(self, alias: str | None = None, **facts: Any) -> Enrolled:
        """A newly enrolled device; a fact given here replaces the simulated one's own, None leaves it out."""
        alias = alias or new_alias()
        simulated = Device(self.api, alias)
        answer = simulated.enrol(self.token(aliases=[alias])["token"], **facts)
        body = accepted(answer)
        return Enrolled(simulated, body["device_id"], body["device_token"], answer)

    def settled(self) -> bool:
        """No dispatch is on its way: what the background process does shows in no digest."""
        waiting = self.db.value("select count(*) from fcm_dispatches where status in ('queued', 'sending')")
        assert waiting == 0, f"{waiting} dispatches are still on their way"
        return True

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Fails when any row of any table is another after the block."""
        eventually(self.settled, 10.0)
        with self.db.unchanged():
            yield


# What the fixtures of the same names give.
Tokens = Callable[..., list[dict[str, Any]]]
NewDevice = Callable[..., Enrolled]
Unchanged = Callable[[], AbstractContextManager[None]]
FreshBackend = Callable[..., System]
Nexmdm = Callable[[list[str], dict[str, str]], tuple[int, str]]


def new_alias() -> str:
    return f"E-{uuid.uuid4().hex[:12]}"
