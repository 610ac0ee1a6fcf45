"""Values that processes share: each counts in its slot, a successor goes on, a full slot costs new series alone."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.parser import text_string_to_metric_families

from nexmdm.kernel.shared_values import SharedValues, Slot


class Metrics:
    def __init__(self, shared: SharedValues) -> None:
        self.shared = shared
        self.own = own = CollectorRegistry()
        self.done = Counter("done", "Work done.", ["kind"], registry=own)
        self.open = Gauge("open", "What is open.", multiprocess_mode="livesum", registry=own)
        self.age = Gauge("age", "The oldest.", multiprocess_mode="livemax", registry=own)
        self.took = Histogram("took", "Seconds.", buckets=(1.0, 2.0), registry=own)
        self.waited = Histogram("waited", "A \\ and\nmore.", ["kind"], buckets=(1.0, 2.0), registry=own)

    def page(self) -> dict[str, float]:
        text = self.shared.page()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {sample.name + "".join(sample.labels.values()): sample.value for sample in samples}


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    shared = SharedValues()
    monkeypatch.setattr(values, "ValueClass", shared.value)
    shared.share(2)
    return Metrics(shared)


def work_of_every_kind(metrics: Metrics) -> None:
    for kind in ("plain", 'a "quoted" one', "back\\slash", "two\nlines", ""):
        metrics.done.labels(kind).inc(1.5)
    metrics.age.set(-math.inf)
    for seconds in (0.5, 1.5, 99):
        metrics.took.observe(seconds)
    for kind in ("b", "a"):
        metrics.waited.labels(kind).observe(2.0)


def families(text: str) -> list[tuple[str, str, str, list[str]]]:
    """What a page says, whatever the order of its samples. Times of creation are not on ours."""
    return sorted(
        (one.name, one.documentation, one.type, sorted(map(repr, one.samples)))
        for one in text_string_to_metric_families(text)
        if not one.name.endswith("_created")
    )


def in_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_children_count_their_parent_sees(metrics: Metrics) -> None:
    def work(number: int) -> None:
        metrics.shared.take(number)
        metrics.done.labels("a").inc(number)
        metrics.open.set(5)
        metrics.age.set(number)
        for seconds in (0.5, 1.5, 99):
            metrics.took.observe(seconds)

    in_child(lambda: work(1))
    in_child(lambda: work(2))
    page = metrics.page()
    assert page["done_totala"] == 3
    assert (page["open"], page["age"]) == (10, 2)
    buckets = [page[f"took_bucket{bound}"] for bound in ("1.0", "2.0", "+Inf")]
    assert (buckets, page["took_count"], page["took_sum"]) == ([2, 4, 6], 6, 202)


def test_the_page_is_what_the_library_writes_of_the_same(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    work_of_every_kind(metrics)
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)  # the library's own, of one process
    theirs = Metrics(metrics.shared)
    work_of_every_kind(theirs)
    text = generate_latest(theirs.own).decode()
    assert families(metrics.shared.page()) == families(text) != []


def test_a_successor_goes_on_with_the_counters_and_without_the_live_gauges(metrics: Metrics) -> None:
    def work() -> None:
        metrics.shared.take(1)
        metrics.done.labels("a").inc()
        metrics.open.inc()

    in_child(work)
    metrics.shared.clear(1)
    assert (metrics.page()["done_totala"], metrics.page()["open"]) == (1, 0)
    in_child(work)
    assert (metrics.page()["done_totala"], metrics.page()["open"]) == (2, 1)
    keys = [key for key, _ in metrics.shared._slots[1].records()]
    assert len(keys) == len(set(keys)), "a crash loop fills no slot"


def test_processes_that_are_forked_before_they_share_have_nothing_in_common(metrics: Metrics) -> None:
    metrics.done.labels("a").inc()

    def begin_and_work() -> None:
        metrics.shared.share(1)
        metrics.done.labels("a").inc(5)
        assert metrics.page()["done_totala"] == 6, "what was counted before goes on"

    in_child(begin_and_work)
    in_child(begin_and_work)
    assert metrics.page()["done_totala"] == 1


def test_what_another_process_is_counts_for_none_of_ours(metrics: Metrics) -> None:
    metrics.done.labels("a").inc()
    metrics.open.set(10)
    metrics.shared.share(1)
    page = metrics.page()
    assert (page["done_totala"], page["open"]) == (1.0, 0.0)


def test_a_full_slot_costs_the_new_series_alone() -> None:
    slot = Slot(128)
    place = slot.add(b"one")
    slot.words[place] = 7.0
    spare = [slot.add(b"x" * 40) for _ in range(9)][-1]
    slot.words[spare] = 9.0
    found = {key: slot.words[at] for key, at in slot.records()}
    assert found[b"one"] == 7.0
    assert 9.0 not in found.values()
