"""One system under test with everything a case may look into: its API, log, database, metrics and FCM inbox.

Does not start anything (suite/environments.py does) and holds no assertion about a particular endpoint.
"""

import functools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted
from acceptance.system.metrics import Metrics
from acceptance.system.s3 import S3Server
from harness.devices.device import Device
from harness.fcm.server import FcmControl
from harness.http.client import Answer
from harness.oracles import log_schemas
from harness.oracles.log_tail import LogTap
from harness.provider.server import ProviderControl
from harness.settings import SECRETS, Target
from harness.stack.stack import Stack
from harness.waiting import eventually


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


@dataclass(repr=False)  # pytest prints the arguments of a failing case: this one would fill a page
class System:
    """The system that a case speaks to. What the run was not given raises on use; such cases are disabled."""

    target: Target
    api: Api
    metrics: Metrics
    stack: Stack | None = None
    s3: S3Server | None = None  # where its objects are, unless they are in a directory
    began: float = field(default_factory=time.time)  # of the current case
    loses_lines: bool = False  # the case sees to that
    _db: Database | None = None
    _logs: Logs | None = None
    _fcm: FcmControl | None = None
    _provider: ProviderControl | None = None

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
            _db=Database(url) if url else None,
            _logs=Logs(LogTap(target.log_file), api) if target.log_file else None,
            _fcm=FcmControl(target.fcm_url) if target.fcm_url else None,
            _provider=ProviderControl(target.provider_control_url) if target.provider_control_url else None,
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
    def provider(self) -> ProviderControl:
        assert self._provider is not None
        return self._provider

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
        self.began = time.time()
        self.api.begin()
        if self._logs is not None:
            self._logs.begin()

    def check_log(self) -> None:
        """Every request of the case has its access line; the last may trail its answer a little."""
        if self._logs is not None and not self.loses_lines:
            eventually(self._logs.complete, self._logs.patience_s, what="an http.request line for every request")

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

    @functools.cached_property
    def somebody(self) -> Enrolled:
        """A device that cases share which leave it as it is: an enrolment costs the service a bcrypt hash."""
        return self.device()

    def settled(self) -> bool:
        """No dispatch is on its way and no zone ends: what the background process does shows in no digest."""
        waiting = self.db.value("select count(*) from fcm_dispatches where status in ('queued', 'sending')")
        assert waiting == 0, f"{waiting} dispatches are still on their way"
        ending = self.db.value("select count(*) from zones where phase = 'Terminating'")
        assert ending == 0, f"{ending} zones are still being deleted"
        return True

    def forgets(self) -> dict[str, int]:
        """Let `nexmdm retention run` remove what is past its days; how many rows each table has lost."""
        code, said = self.running.run("retention", "run")
        assert code == 0, said
        lines = [json.loads(line) for line in said.splitlines()]
        assert not list(log_schemas.judge(lines)), "the command logs like every process of the service"
        cleanups = [line for line in lines if line["event"] == "retention.cleanup"]
        assert {line["level"] for line in cleanups} == {"INFO"}
        return {line["entity"]: line["deleted"] for line in cleanups}

    def has_forgotten(self, entity: str) -> None:
        """Wait for the schedule's own run when the service starts: it must not be the one that removes what is aged."""
        self.logs.tap.wait_for("retention.cleanup", since=0, within_s=30.0, entity=entity)

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
