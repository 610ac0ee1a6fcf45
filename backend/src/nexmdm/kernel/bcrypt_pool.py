"""bcrypt off the event loop: two threads of low priority behind a bounded queue. It knows no token and no table.

One hash costs 60 ms at cost 10. After a restart a whole fleet asks for one each, at once. A full queue answers each
caller with the time at which a slot will be free, so that the fleet returns at the rate at which it can be served.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import Final, TypeVar

import bcrypt

from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.problems import Problem

T = TypeVar("T")

SLOTS: Final = 128  # running or waiting: some 5 s of work, and callers wait for 10 s
LONGEST_PAUSE_S: Final = 120  # the longest Retry-After, give or take half
_THREADS: Final = 2  # leaves the other cores to everybody else
_NICE: Final = 10  # against a busy event loop they get a tenth of a core, and all that is left over


class Hashing:
    """Hashes and checks within a slot: `with hashing.slot(): await hashing.matches(...)`."""

    def __init__(self, cost: int, slots: int = SLOTS) -> None:
        self._cost, self._slots = cost, slots
        self._taken = 0
        self._mean_hash_s = 0.06  # a moving average
        self._next_free_at = 0.0  # when the last rejected caller was told to retry
        self._threads = ThreadPoolExecutor(_THREADS, "bcrypt", initializer=_give_way)

    def close(self) -> None:
        """End the threads; queued work is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A slot of the queue, for one hash and for what has to be read for it.

        Raises:
            Problem: `overloaded` where there is none; Retry-After is about when there will be one.
        """
        if self.full:
            raise self.refuse()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @property
    def full(self) -> bool:
        """Is there no slot?"""
        return self._taken >= self._slots

    def refuse(self) -> Problem:
        """The refusal of one more caller."""
        return reject_overloaded("bcrypt", self._reserve(monotonic()))

    def _reserve(self, now: float) -> float:
        """Seconds until the queue has served every waiting caller and every one refused before."""
        pause_s = self._mean_hash_s / _THREADS
        free_at = max(self._next_free_at, now + self._taken * pause_s) + pause_s
        self._next_free_at = min(free_at, now + LONGEST_PAUSE_S)
        return self._next_free_at - now

    async def hash(self, secret: str) -> str:
        """The bcrypt hash to store."""
        return (await self._work(lambda: bcrypt.hashpw(secret.encode(), bcrypt.gensalt(self._cost)))).decode()

    async def matches(self, secret: str, hashed: str) -> bool:
        """Is this the hash of the secret? bcrypt reads 72 bytes, so the secret must have no more."""
        return await self._work(lambda: bcrypt.checkpw(secret.encode(), hashed.encode()))

    async def _work(self, work: Callable[[], T]) -> T:
        def timed() -> tuple[T, float]:
            started = perf_counter()
            return work(), perf_counter() - started

        done, elapsed_s = await asyncio.get_running_loop().run_in_executor(self._threads, timed)
        self._mean_hash_s += (elapsed_s - self._mean_hash_s) / 16
        return done


def _give_way() -> None:
    """Lower the priority of the calling thread; only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
