"""The scene of a chaos case: a live system under traffic, the faults that it suffers, and what became of its writes.

Does not know any particular fault (injections/ does), and writes no artifact (report.py does).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

from acceptance.chaos.operations import Writes
from acceptance.chaos.workload import Traffic
from acceptance.platform.zones import Platform
from acceptance.sandboxes.pool import Pool
from acceptance.system.system import System
from harness.devices.seeded_fleet import FleetDevice, seed
from harness.http.client import Client, HttpxTransport
from harness.oracles.findings import Findings
from harness.oracles.history import KINDS, Kind, Ledger, Tally
from harness.oracles.reconcile import Audit
from harness.platform.rpc import RpcError
from harness.waiting import WaitTimeout, eventually

DEVICES: Final = 1000  # a round of the fleet takes longer than a bucket: most beats are rows of their own
SPARE: Final = 40
SANDBOXES: Final = 1500  # more than the students of any case: who hears that the pool is empty was told wrong
# Every write that a client can see fail and come again; a revocation and a retirement are no other paths.
FLEET: Final[tuple[Kind, ...]] = ("heartbeat", "registration", "command", "result", "token", "upload")
STUDENTS: Final[tuple[Kind, ...]] = ("allocation", "release")
ZONE: Final[tuple[Kind, ...]] = ("file", "part")
ALL: Final = FLEET + STUDENTS + ZONE
WARM_WITHIN_S: Final = 20.0
WHOLE_WITHIN_S: Final = 30.0
SETTLED_WITHIN_S: Final = 45.0
BREAKER_OPEN_S: Final = 2.0
SETTINGS: Final = {
    "NEXMDM_BCRYPT_COST": "10",  # as in production: how long recovery takes is measured
    "NEXMDM_FCM_TIMEOUT_S": "1",  # a dispatch of a dead dispatcher is taken up 5 s after twice this time
    "NEXMDM_DISPATCH_CONCURRENCY": "4",  # so many messages may be sent again after each death of a dispatcher
    "NEXMDM_SYNC_EVERY_S": "5",
    "NEXMDM_CLEANUP_EVERY_S": "1",
    "NEXMDM_EXPIRY_EVERY_S": "2",
    "NEXMDM_PROVIDER_TIMEOUT_S": "1",
    "NEXMDM_DELETION_LEASE_S": "11",  # what a dead process was deleting is taken up after this time
    "NEXMDM_DELETION_BACKOFF_BASE_S": "0.5",
    "NEXMDM_DELETION_BACKOFF_CAP_S": "1",
    "NEXMDM_BREAKER_OPEN_S": f"{BREAKER_OPEN_S:g}",
}
CAUGHT_UP_WITHIN_S: Final = 30.0
_STILL: Final = "select count(*) from sandboxes where sandbox_id = any(%s) and status <> 'deleted'"
_WAITING: Final = "select count(*) from sandboxes where status in ('pending_deletion', 'deleting')"


@dataclass
class Suffered:
    """What became of one fault, done so many times."""

    fault: str
    case: str
    repetitions: int
    tally: Tally
    findings: Findings
    limit_s: float
    recoveries_s: list[float] = field(default_factory=list)  # from healed to the first acknowledged write
    whole_s: list[float] = field(default_factory=list)  # until each kind of write was acknowledged again
    caught_up_s: list[float] = field(default_factory=list)  # until what a fault kept from being deleted was deleted
    took_s: float = 0.0
    kinds: dict[Kind, Tally] = field(default_factory=dict)
    trouble: str = ""  # why it could not be done as often as was meant


class Scene:
    """One system under one ledger."""

    def __init__(
        self, system: System, base_url: str, *, end: Callable[[], None], clock: Callable[[], float] = time.time
    ) -> None:
        """base_url: where clients go; end: ends the system; clock: epoch seconds as the database sees them."""
        self.system, self.base_url, self._end = system, base_url, end
        self.ledger = Ledger(clock)
        # For a case that writes beside the traffic: its client, and devices that nobody else uses.
        self.pool = Pool(system)
        self.platform = Platform(system)
        self.zone = self.platform.zone()
        self._transports: list[HttpxTransport] = []
        self.writes = self.client()
        self.spare: list[FleetDevice] = []
        self._caught_up_s: list[float] = []

    def client(self) -> Writes:
        """A client of its own, on connections of its own."""
        self._transports.append(HttpxTransport(self.base_url))
        target = self.system.target
        client = Client(self._transports[-1], target.admin_key, target.hmac_secret, keep=1)
        return Writes(client, self.ledger, self.pool.track_key, self.zone)

    def close(self) -> None:
        """End the system; safe to call twice. For `closing`, in a case that ends what the system stands on."""
        for transport in self._transports:
            transport.close()
        self._end()

    def met(self, writes: int = 3, within_s: float = 20.0, *, kinds: tuple[Kind, ...] = KINDS) -> None:
        """Return when so many writes, asked from now on, were refused or got no answer: the fault has been met."""
        place = len(self.ledger)

        def seen() -> bool:
            later = [entry for entry in self.ledger.entries()[place:] if entry.kind in kinds]
            return sum(entry.ended_at is not None and not entry.acknowledged for entry in later) >= writes

        eventually(seen, within_s, what="a write that meets the fault")

    def goes_on(self, *kinds: Kind, writes: int = 5, within_s: float = 20.0) -> None:
        """Return when so many writes of each kind, asked from now on, were acknowledged: life goes on."""
        place = len(self.ledger)

        def seen() -> bool:
            later = [entry.kind for entry in self.ledger.entries()[place:] if entry.acknowledged]
            few = [kind for kind in kinds if later.count(kind) < writes]
            assert not few, f"too few of {', '.join(few)}"
            return True

        eventually(seen, within_s, what="acknowledged writes")

    def catches_up(self, sandboxes: Sequence[str], since: float) -> None:
        """Return when all of these are deleted. since: when that became possible, by time.monotonic()."""
        eventually(lambda: self.system.db.value(_STILL, list(sandboxes)) == 0, CAUGHT_UP_WITHIN_S, what="deletions")
        self._caught_up_s.append(time.monotonic() - since)

    def suffer(
        self,
        fault: "Fault",
        times: int,
        *,
        case: str,
        name: str,
        limit_s: float,
        kinds: Iterable[Kind] = ALL,
        sends_again: int = 0,
        fleet_alone: bool = False,
    ) -> Suffered:
        """Do the fault under traffic so many times, each after the last was got over; then compare.

        limit_s: the recovery that is promised; kinds: what must be acknowledged again after each, `kinds[0]` first.
        Nothing acknowledged before the first fault ends it: there is nothing to lose. fleet_alone: as Traffic has it.
        """
        begun, system, wanted = time.monotonic(), self.system, tuple(kinds)
        fleet = seed(system.target.database_url or "", DEVICES + SPARE)
        fleet, self.spare = fleet[:DEVICES], fleet[DEVICES:]
        if not fleet_alone:
            self.pool.seed_listed(system.provider.add(SANDBOXES))
        audit = Audit(system.db.url)
        suffered = Suffered(name, case, 0, self.ledger.tally(), Findings(), limit_s)
        with Traffic(
            system.target, self.base_url, fleet, self.ledger, self.pool.track_key, self.zone, fleet_alone=fleet_alone
        ) as traffic:
            try:
                eventually(lambda: self._since(0, wanted), WARM_WITHIN_S, what="a system that takes writes")
            except WaitTimeout:
                times = 0
            try:
                for _ in range(times):
                    with fault(self):
                        pass
                    first_s, whole_s = self._recovery(wanted)
                    suffered.recoveries_s.append(first_s)
                    suffered.whole_s.append(whole_s)
                    suffered.repetitions += 1
                traffic.stop()
                eventually(system.settled, SETTLED_WITHIN_S, what="the end of every dispatch")
                eventually(self._deleted, SETTLED_WITHIN_S, what="the end of every deletion")
            except AssertionError as error:  # what became of the writes is worth knowing all the same
                suffered.trouble = str(error)
        suffered.tally = self.ledger.tally()
        suffered.kinds = {kind: self.ledger.tally(kind) for kind in KINDS}
        suffered.findings = audit.compare(
            self.ledger,
            system.fcm.inbox(),
            sends_again=sends_again * times,
            deletions=system.provider.calls("delete"),
            content=self._content,
        )
        suffered.caught_up_s = self._caught_up_s
        suffered.took_s = time.monotonic() - begun
        return suffered

    def _content(self, key: str) -> bytes:
        """A file of the zone; none can be read: nothing."""
        try:
            return self.zone.read(key.removeprefix(self.zone.zone_id))
        except RpcError:
            return b""

    def _deleted(self) -> bool:
        waiting = self.system.db.value(_WAITING)
        assert waiting == 0, f"{waiting} sandboxes wait for their deletion"
        return True

    def _since(self, place: int, wanted: Iterable[Kind]) -> bool:
        again = self.ledger.acknowledged_since(place)
        waiting = [kind for kind in wanted if kind not in again]
        assert not waiting, f"no acknowledged {', '.join(waiting)}; {dict(self.ledger.tally().wrong)}"
        return True

    def _recovery(self, wanted: tuple[Kind, ...]) -> tuple[float, float]:
        """Seconds from now to the first acknowledged write, and to one of each kind."""
        healed, place = time.monotonic(), len(self.ledger)
        first_s: list[float] = []

        def back() -> bool:
            if not first_s and self.ledger.acknowledged_since(place).keys() & set(wanted):
                first_s.append(time.monotonic() - healed)
            return self._since(place, wanted)

        eventually(back, WHOLE_WITHIN_S, what="recovery")
        return first_s[0], time.monotonic() - healed


Fault = Callable[[Scene], AbstractContextManager[None]]
NewScene = Callable[..., Scene]  # what the fixture `scene` gives
