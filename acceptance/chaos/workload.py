"""The mixed traffic of a chaos case: each kind of write by a thread of its own, every one noted in the ledger.

Rates are modest: it is there to be right, not fast. Does not judge any answer: the ledger keeps them, the case judges.
"""

import itertools
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Final, Self

from acceptance.chaos.operations import Writes, new_request_id, new_track
from acceptance.fleet.apks import new_package
from acceptance.system.system import new_alias
from harness.devices.seeded_fleet import FleetDevice
from harness.fcm.server import FcmControl, FcmError
from harness.http.client import Client, HttpxTransport
from harness.oracles.history import Ledger
from harness.platform.uploads import Upload
from harness.platform.zone import Zone
from harness.settings import Target

# Writes a second of each thread, and how long one waits at least after a write that was not acknowledged.
BEATS_PER_S: Final = 40.0
ENROLMENTS_PER_S: Final = 2.0
COMMANDS_PER_S: Final = 6.0
UPLOADS_PER_S: Final = 1.0
STUDENTS_PER_S: Final = 4.0
FILES_PER_S: Final = 8.0
PARTS_PER_S: Final = 6.0
PART_BYTES, PARTS = 20_011, 3  # of each upload
HOLDERS: Final = 3  # so many students of each thread have a sandbox at any time
PAUSE_S: Final = 0.05
ANSWER_WITHIN_S: Final = 25.0


class Traffic:
    """Runs as a context manager. What breaks a thread is raised at the end: no traffic is no proof."""

    THREADS: Final = 10

    def __init__(
        self,
        target: Target,
        base_url: str,
        fleet: Sequence[FleetDevice],
        ledger: Ledger,
        track_key: str,
        zone: Zone,
        *,
        fleet_alone: bool = False,
    ) -> None:
        """base_url: where clients go, which is a balancer's for several replicas; the rest is the target's.

        fleet_alone: nobody asks for sandboxes, or writes into the zone.
        """
        self._target, self._base_url, self._fleet, self._ledger = target, base_url, fleet, ledger
        self._track_key, self._zone = track_key, zone
        self._over = threading.Event()
        self._errors: list[BaseException] = []
        middle = len(fleet) // 2
        kinds: list[Callable[[Writes], None]] = [
            lambda writes: self._beats(writes, fleet[:middle]),
            lambda writes: self._beats(writes, fleet[middle:]),
            self._enrolments,
            self._commands,
            self._results,
            self._uploads,
            *([] if fleet_alone else [self._students, self._students, self._files, self._parts]),
        ]
        self._threads = [threading.Thread(target=self._run, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every thread finish its write. Raises what broke one of them."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self, kind: Callable[[Writes], None]) -> None:
        transport = HttpxTransport(self._base_url, timeout_s=ANSWER_WITHIN_S)
        client = Client(transport, self._target.admin_key, self._target.hmac_secret, keep=1)
        try:
            kind(Writes(client, self._ledger, self._track_key, self._zone))
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
            self._errors.append(error)
            self._over.set()
        finally:
            transport.close()

    def _pace(self, per_s: float, acknowledged: object) -> bool:
        """Wait for the next turn; False when it is over."""
        return not self._over.wait(1 / per_s if acknowledged else max(1 / per_s, PAUSE_S))

    def _beats(self, writes: Writes, devices: Sequence[FleetDevice]) -> None:
        """Round and round the fleet: most beats are rows of their own; now and then one is sent twice."""
        for number, device in enumerate(itertools.cycle(devices)):
            answers = [writes.beat(device) for _ in range(2 if number % 10 == 0 else 1)]
            if not self._pace(BEATS_PER_S, answers[-1]):
                return

    def _enrolments(self, writes: Writes) -> None:
        """A token, and what may become of it: a device, which is retired now and then, or nothing but a revocation."""
        for number in itertools.count():
            alias = new_alias()
            made = writes.token(alias)
            if made is not None and number % 4 == 3:
                writes.revoke(str(made["tokens"][0]["token_id"]))
            elif made is not None:
                device = writes.register(alias, str(made["tokens"][0]["token"]))
                if device is not None and number % 4 == 2:
                    writes.retire(str(device["device_id"]))
            if not self._pace(ENROLMENTS_PER_S, made):
                return

    def _commands(self, writes: Writes) -> None:
        """To one device or to three; what was not acknowledged is repeated until it is, and every fourth anyway."""
        rng = random.Random(1)  # noqa: S311 - which devices is no secret
        for number in itertools.count():
            devices, request_id = rng.sample(self._fleet, 3 if number % 5 == 0 else 1), new_request_id()
            left = 2 if number % 4 == 0 else 1
            while left:
                answer = writes.command(devices, request_id)
                left -= answer is not None
                if not self._pace(COMMANDS_PER_S, answer):
                    return

    def _results(self, writes: Writes) -> None:
        """Devices answer the messages that reach them; some answer twice, as after a message that came twice."""
        fcm, owner = FcmControl(str(self._target.fcm_url)), {one.fcm_token: one for one in self._fleet}
        after = 0
        while not self._over.is_set():
            try:
                messages = fcm.inbox(after=after, wait_s=0.2)
            except FcmError:  # it is down: that is a fault of its own
                self._over.wait(PAUSE_S)
                continue
            for message in messages:
                after, device = message["seq"], owner.get(message["token"])
                if message["status"] != 200 or device is None:
                    continue
                for _ in range(2 if after % 4 == 0 else 1):
                    if writes.complete(device, str(message["data"]["request_id"])) is None:
                        self._over.wait(PAUSE_S)
                if self._over.is_set():
                    return

    def _uploads(self, writes: Writes) -> None:
        package = new_package()
        for code in itertools.count(1):
            if not self._pace(UPLOADS_PER_S, writes.upload(package, code)):
                return

    def _students(self, writes: Writes) -> None:
        """Each asks until it has a sandbox, now and then again, and gives it back later; every fifth just vanishes."""
        rng = random.Random(2)  # noqa: S311 - which tracks ask again is no secret
        holders: list[tuple[str, str]] = []
        for number in itertools.count():
            track_id = new_track()
            while (given := writes.allocate(track_id)) is None:
                if not self._pace(STUDENTS_PER_S, given):
                    return
            holders.append((track_id, str(given["sandbox_id"])))
            if number % 2 == 0:
                writes.allocate(rng.choice(holders)[0])
            if len(holders) > HOLDERS:
                holder = holders.pop(0)
                for _ in range(0 if number % 5 == 4 else 2 if number % 4 == 0 else 1):
                    while writes.release(*holder) is None:
                        if not self._pace(STUDENTS_PER_S, None):
                            return
            if not self._pace(STUDENTS_PER_S, given):
                return

    def _files(self, writes: Writes) -> None:
        """One new file after the other; what was not acknowledged is written again until it is."""
        folder = uuid.uuid4().hex
        for number in itertools.count():
            while writes.file(f"/{folder}/{number}", f"text {number}") is None:
                if not self._pace(FILES_PER_S, None):
                    return
            if not self._pace(FILES_PER_S, True):
                return

    def _parts(self, writes: Writes) -> None:
        """One upload after the other."""
        rng, folder = random.Random(3), uuid.uuid4().hex  # noqa: S311 - the bytes are no secret
        for number in itertools.count():
            path, content = f"/{folder}/{number}", rng.randbytes(PARTS * PART_BYTES)
            upload = writes.begin(path, len(content))
            if upload is not None and not self._append(writes, upload, path, content):
                return
            if not self._pace(PARTS_PER_S, upload):
                return

    def _append(self, writes: Writes, upload: Upload, path: str, content: bytes) -> bool:
        """Part after part; after one that was not acknowledged ask where to go on. False: it is over before the end."""
        offset, unsure = 0, False
        while offset < len(content):
            reached = writes.part(upload, path, content, offset, offset + PART_BYTES, unsure=unsure)
            unsure = reached is None
            found = writes.offset(upload) if reached is None else reached
            offset = offset if found is None else found
            if not self._pace(PARTS_PER_S, reached):
                return False
        return True
