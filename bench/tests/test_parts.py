import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import pgbench, wrk
from bench.cpu import Meter, kept_off, memory_mib
from bench.rig import Counted, listed, median_ratio, parse_counted
from bench.wrk import Load, Wrk, WrkError

SAID = """Running 2s test @ http://127.0.0.1:1/v1/heartbeat
  1 threads and 64 connections
  54976 requests in 2.00s, 6.71MB read
  Non-2xx or 3xx responses: 3
Requests/sec:  27470.07
Transfer/sec:      3.35MB
bench: 54976 requests in 2001299 us, 3 refused, 2 lost
"""
TPS = """number of transactions actually processed: 35000
number of failed transactions: {failed} (0.000%)
latency average = 0.9 ms
tps = 17500.250000 (without initial connection time)
"""


def test_a_round_of_wrk_is_read_from_its_own_line() -> None:
    load = wrk.parse(SAID)
    assert load == Load(54976, 2.001299, 3, 2)
    assert load.per_s == pytest.approx(27470.1, abs=0.1)
    assert load.bad == 5


@pytest.mark.parametrize("said", ["", SAID.rpartition("bench:")[0], "bench: 0 requests in 0 us, 0 refused, 0 lost\n"])
def test_a_round_that_wrk_does_not_report_is_an_error_and_never_zero(said: str) -> None:
    with pytest.raises(WrkError, match="did not report"):
        wrk.parse(said)


def test_without_wrk_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WrkError, match="apt-get install wrk"):
        wrk.command()


def test_each_round_goes_on_with_the_next_device_and_warming_reaches_all(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[int] = []

    def rounds(argv: list[str], **_: Any) -> tuple[int, str]:
        places.append(int(argv[-1]))
        return 0, "bench: 4 requests in 1000000 us, 0 refused, 0 lost\n"

    monkeypatch.setattr(wrk, "command", lambda: "wrk")
    monkeypatch.setattr(wrk, "run_to_end", rounds)
    Wrk([f"token-{number}" for number in range(10)]).warm("http://127.0.0.1:1/", passes=2)
    assert places == [0, 4, 8, 2, 6]


def test_a_wrk_that_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrk, "command", lambda: "wrk")
    monkeypatch.setattr(wrk, "run_to_end", lambda *_, **__: (1, "unable to connect"))
    with pytest.raises(WrkError, match="unable to connect"):
        Wrk(["token"]).round("http://127.0.0.1:1/", 1)


def test_pgbench_says_its_rate_unless_transactions_failed() -> None:
    assert pgbench.parse(TPS.format(failed=0)) == 17500.25
    for said in (TPS.format(failed=1), TPS.partition("tps")[0], ""):
        with pytest.raises(pgbench.PgbenchError):
            pgbench.parse(said)


def test_pairs_are_divided_before_the_median_is_taken() -> None:
    ours, theirs = [50.0, 90.0, 10.0], [100.0, 100.0, 10.0]
    assert median_ratio(ours, theirs) == 0.9
    assert statistics.median(ours) / statistics.median(theirs) == 0.5
    with pytest.raises(ValueError, match="zip"):
        median_ratio([1.0], [1.0, 2.0])
    assert listed([12345.678, 0.5]) == "1.235e+04 0.5"


PAGE = """# HELP nexmdm_heartbeats_total Heartbeats acknowledged.
nexmdm_heartbeats_total{result="ingested"} 30.0
nexmdm_heartbeats_total{result="deduplicated"} 10.0
nexmdm_http_requests_total{method="POST",route="/v1/heartbeat",status="200"} 40.0
nexmdm_http_requests_total{method="POST",route="/v1/heartbeat",status="503"} 2.0
nexmdm_http_requests_total{method="POST",route="/v1/heartbeat",status="0"} 3.0
nexmdm_http_requests_total{method="GET",route="/metrics",status="500"} 7.0
nexmdm_build_info{version="1"} 1.0
"""


def test_heartbeats_are_counted_by_result_and_by_status() -> None:
    found = parse_counted(PAGE)
    assert (found.ingested, found.deduplicated, found.share_ingested) == (30, 10, 0.75)
    assert found.not_200 == {"503": 2}
    later = Counted(31, 10, {"200": 41, "503": 2, "0": 4})
    assert later.since(found) == Counted(1, 0, {"200": 1, "503": 0, "0": 1})
    assert later.since(found).not_200 == {}


def test_nothing_counted_is_a_share_of_nothing() -> None:
    assert parse_counted("").share_ingested == 0


def test_a_meter_sees_who_worked() -> None:
    with Meter({"nobody": None}) as meter:
        deadline = meter._begun + 0.2
        while time.monotonic() < deadline:
            pass
    assert set(meter.used) == {"generator"}
    assert 0.2 < meter.used["generator"] < 1.5


def test_a_process_tree_is_kept_off_a_cpu_and_let_back() -> None:
    mine = os.sched_getaffinity(0)
    with kept_off(max(mine), [os.getpid(), None]):
        assert os.sched_getaffinity(0) == (mine - {max(mine)} or mine)
    assert os.sched_getaffinity(0) == mine


def test_the_memory_of_a_tree_counts_its_children() -> None:
    alone = memory_mib(os.getpid())
    argv = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # now it is there
        assert memory_mib(os.getpid()) > alone + 1
        child.kill()
    assert memory_mib(child.pid) == 0.0
