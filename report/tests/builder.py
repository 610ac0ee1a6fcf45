"""Suite folders as the suites leave them, small and seeded. It runs no suite."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.verdict.artifacts import (
    Envelope,
    Moment,
    Timeline,
    timestamp,
    write_json,
    write_result,
    write_text,
    write_timelines,
)
from harness.verdict.thresholds import Check, Judgement, Limit, Status, judge

START = 1_795_000_000.0
MILESTONES = ("apk_downloaded", "registered", "heartbeat", "command", "message", "result")


def result(
    directory: Path,
    judgements: Sequence[Judgement] = (),
    checks: Sequence[Check] = (),
    suite: str = "sim20",
    doubts: Sequence[str] = (),
    **more: Any,
) -> Path:
    """result.json of a run of two minutes; its verdict follows from what was judged."""
    envelope = Envelope(
        suite,
        START,
        START + 125.4,
        judge(judgements, checks, doubts),
        judgements=judgements,
        checks=checks,
        seed=7,
        versions={"locust": "2.47.0"},
        capabilities=("database", "logs"),
        **{"facts": {"devices": 20, "commands completed": 20, "drawn by": None}, "files": ["timelines.json"], **more},
    )
    write_result(directory, envelope)
    return directory


def judged(name: str = "heartbeat p95", observed: float = 6.3, value: float = 150, n: int = 2000) -> Judgement:
    return Limit(name, "ms", "<", value, min_n=1).judge_value(observed, n)


def kind(name: str, rng: random.Random, duration_s: float, per_s: float, median_ms: float) -> dict[str, Any]:
    """Log-normal latencies with a stall of 0.4 s at two thirds, as latency.json has them."""
    stall = duration_s * 2 / 3
    seconds: dict[int, list[float]] = {}
    for n in range(int(duration_s * per_s)):
        sent = n / per_s
        waits = max(stall + 0.4 - sent, 0) * 1000 if stall <= sent else 0
        seconds.setdefault(int(sent), []).append(median_ms * math.exp(rng.gauss(0, 0.45)) + waits)
    every = sorted(ms for values in seconds.values() for ms in values)
    bins: dict[float, int] = {}
    for ms in every:
        bound = round(10 ** (math.ceil(math.log10(ms) * 40) / 40), 4)
        bins[bound] = bins.get(bound, 0) + 1

    def at(values: Sequence[float], q: float) -> float:
        return round(sorted(values)[math.ceil(q * len(values)) - 1], 3)

    series = [
        {
            "t_s": float(t),
            "n": len(values),
            "errors": 2 if int(stall) == t else 0,
            "p50_ms": at(values, 0.5),
            "p95_ms": at(values, 0.95),
            "p99_ms": at(values, 0.99),
            "max_ms": at(values, 1),
        }
        for t, values in seconds.items()
    ]
    return {
        "kind": name,
        "n": len(every),
        "errors": 2,
        "percentiles": [[q, at(every, q)] for q in (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)],
        "histogram": [[bound, n] for bound, n in sorted(bins.items())],
        "series": series,
    }


def latency(directory: Path, kinds: Mapping[str, tuple[float, float]], duration_s: float = 120, **more: Any) -> None:
    """latency.json; kinds: name -> (requests per second, median in ms)."""
    rng = random.Random(7)
    document = {
        "suite": "sim20",
        "started_at": timestamp(START),
        "interval_s": 1,
        "timeout_ms": 10_000,
        "kinds": [kind(name, rng, duration_s, per_s, ms) for name, (per_s, ms) in kinds.items()],
        "stages": [],
    }
    write_json(directory / "latency.json", document | more, "latency")


def stages(offered: Sequence[float], knee: float) -> list[dict[str, Any]]:
    """Steps of 10 s; beyond the knee not all is achieved and the answers are slow."""
    return [
        {
            "offered_per_s": rate,
            "achieved_per_s": min(rate, knee * 1.05),
            "from_s": n * 10.0,
            "to_s": n * 10.0 + 10,
            "n": int(rate * 10),
            "errors": 0 if rate <= knee else int(rate / 20),
            "p50_ms": 1.4 + rate / 4000,
            "p95_ms": 3 + rate / 800,
            "p99_ms": 6 + rate / 300 if rate <= knee else 850.0,
            "held": rate <= knee,
            "note": "" if rate <= knee else "p99 above 100 ms",
        }
        for n, rate in enumerate(offered)
    ]


def devices(directory: Path, count: int = 20, duration_s: float = 120, alias: str = "D{:02}-6b018efbe7") -> None:
    """timelines.json: enrolment, a heartbeat about every 12 s, one command; the third device has one failed beat."""
    rng = random.Random(7)
    lines = []
    for number in range(1, count + 1):
        at = START + 0.2 + rng.random() * 0.6
        command = START + duration_s / 2 + rng.random()
        moments = [Moment("apk_downloaded", at, 200), Moment("registered", at + 0.2, 200)]
        beats = [START + 1 + rng.random() * 12 + n * 12 for n in range(int(duration_s / 12))]
        moments += [Moment("heartbeat", beat, 200) for beat in beats]
        moments += [Moment("command", command), Moment("message", command + 0.03)]
        moments += [Moment("result", command + 1 + 2 * rng.random(), 200)]
        if number == 3:
            moments.append(Moment("heartbeat_failed", START + duration_s * 0.7, 503, detail="no answer"))
        lines.append(Timeline(alias.format(number), f"01a1fe16-8953-7494-abb8-{number:012}", moments))
    write_timelines(directory, "sim20", START, lines, MILESTONES)


def matrix(directory: Path) -> None:
    """matrix.json with a proved, a failed, a disabled and a missing answer."""

    def one(case: str, outcome: str, proved: list[list[Any]], unseen: list[str]) -> dict[str, Any]:
        reason = "" if outcome == "passed" else f"during call: {outcome}"
        told = {"case": case, "requirement": f"What {case} is about (000 A).", "test": "acceptance/test_x.py::test_x"}
        ran = {"outcome": outcome, "reason": reason, "tests": 1, "duration_ms": 12.5}
        return told | ran | {"proved": proved, "unseen": unseen, "seen": proved}

    cases = [
        one("register/001", "passed", [["registerDevice", "200"]], []),
        one("register/002", "failed", [], ["registerDevice 401"]),
        one("outages/001", "disabled", [], ["registerDevice 503"]),
    ]
    operations = {
        "registerDevice": {"200": ["register/001"], "401": [], "503": []},
        "getHealth": {"200": []},
        "readFile": {"result": ["register/001"], "not_found": [], "503": []},
    }
    write_json(directory / "matrix.json", {"cases": cases, "operations": operations}, "matrix")


def mutants(directory: Path) -> None:
    """mutants.json: one killed, one survived."""

    def one(name: str, verdict: str) -> dict[str, Any]:
        change = {"file": "auth.py", "old": "if not valid:", "new": "if False:"}
        about = {"mutant": name, "breaks": "anybody may send commands", "row": "401", "operations": ["sendCommand"]}
        found = {"verdict": verdict, "red": ["commands/002"], "said": "during call: AssertionError", "took_s": 7.6}
        return about | change | found | {"suite": "acceptance", "caught_by": "commands/001"}

    document = {"mutants": [one("auth/any-signature", "killed"), one("auth/no-signature", "survived")]}
    write_json(directory / "mutants.json", document, "mutants")


def chaos(directory: Path) -> None:
    """chaos.json: a fault that was got over, and one that cost a write."""

    def one(fault: str, missing: int) -> dict[str, Any]:
        examples = ["heartbeat 7: acknowledged and not there"] * missing
        counts = {"repetitions": 10, "asked": 1234, "acknowledged": 1200, "refused": 30, "unanswered": 4, "landed": 1}
        found = {"missing": missing, "doubled": 0, "unasked": 0, "wrong": {}, "examples": examples}
        times = {
            "recovery_median_s": 0.21,
            "recovery_worst_s": 0.9,
            "whole_worst_s": 1.7,
            "caught_up_worst_s": None,
            "limit_s": 5,
            "took_s": 31,
            "trouble": "",
        }
        kinds = {"allocation": {"asked": 617, "acknowledged": 600, "refused": 15, "unanswered": 2}}
        return {"fault": fault, "case": "chaos/001", "kinds": kinds} | counts | found | times

    rows = [one("kill -9 of the backend", 0), one("disk full", 1)]
    write_json(directory / "chaos.json", {"sample": False, "faults": rows}, "chaos")


def junit(directory: Path, output: str = "assert 200 == 401", times: int = 1) -> None:
    """junit.xml with a passed case, and a failed one as often as asked for."""
    case = '<properties><property name="case" value="register/002"/></properties>'
    failed = f'<failure message="short">{output}</failure><system-err>last words</system-err>'
    test = f'<testcase classname="acceptance.fleet.test_register" name="test_it">{case}{failed}</testcase>'
    suite = f'<testsuite><testcase name="fine"/>{test * times}</testsuite>'
    write_text(directory / "junit.xml", f'<?xml version="1.0"?><testsuites>{suite}</testsuites>')


def resources(directory: Path, duration_s: int = 1800) -> None:
    rows = [f"{t},{pid},{180 + t / 600 + pid},{40 + pid}" for t in range(0, duration_s, 5) for pid in (1, 2)]
    write_text(directory / "resources.csv", "t_s,pid,rss_mib,fds\n" + "\n".join(rows) + "\n")


def whole(directory: Path, count: int = 20) -> Path:
    """A passing simulation with everything that one leaves behind, and the acceptance suite beside it."""
    limits = [
        judged("heartbeat p95", 6.3, 150),
        judged("heartbeat p99", 16.5, 300),
        Limit("devices registered", "devices", "==", count).judge_value(count, count),
        Limit("requests sent of plan", "", ">=", 0.98).judge_value(1.0, 200),
    ]
    checks = [Check("log-errors", "no error in the log", Status.PASS, "934 log lines, 0 of them errors")]
    result(directory, limits, checks, notes=["A quick look: sim20 is 20 devices and 120 s."])
    latency(directory, {"heartbeat": (20, 3.8), "metrics": (2, 7.5), "command": (0.2, 21)})
    devices(directory, count)
    (directory.parent / "acceptance").mkdir(exist_ok=True)
    matrix(directory.parent / "acceptance")
    return directory


def broken(directory: Path) -> Path:
    """A failing acceptance run."""
    checks = [Check("register/002", "A used-up token is refused (000 A: 401).", Status.FAIL, "200 instead of 401")]
    checks += [Check(f"tokens/{n:03}", "A token is issued once.", Status.PASS, "") for n in range(40)]
    result(directory, [], checks, suite="acceptance", files=["matrix.json", "junit.xml"])
    matrix(directory)
    junit(directory)
    write_text(directory / "failures.log", json.dumps({"event": "sec.token.rejected", "level": "ERROR"}) + "\n")
    return directory


def empty(directory: Path) -> Path:
    """An inconclusive run: interrupted before its first sample."""
    nothing = Limit("heartbeat p95", "ms", "<", 150, min_n=200, quantile=0.95).judge([])
    return result(directory, [nothing], doubts=["interrupted after 3 s"], files=["samples.csv"])


def rising(directory: Path) -> Path:
    """A capacity run that found its knee."""
    check = Check("stages", "at least one stage was held", Status.PASS, "the knee is 1,500/s")
    result(directory, [], [check], suite="capacity", facts={"highest load held, /s": 1500}, files=["latency.json"])
    steps = stages((100, 500, 1000, 1500, 2000, 2500), 1500)
    latency(directory, {"heartbeat": (200, 2.1)}, 60, suite="capacity", stages=steps)
    return directory


def hunted(directory: Path) -> Path:
    result(
        directory, [], [Check("auth/any", "a mutant", Status.FAIL, "survived")], suite="mutants", files=["mutants.json"]
    )
    mutants(directory)
    return directory


def shaken(directory: Path) -> Path:
    """A chaos run in which a write was lost."""
    missing = Limit("missing", "writes", "==", 0).judge_value(1, 2400)
    result(directory, [missing], suite="chaos", files=["chaos.json"])
    chaos(directory)
    return directory


def soaked(directory: Path) -> Path:
    growth = [
        Limit("memory growth", "", "<", 0.1).judge_value(0.23, 90),
        Limit("more descriptors", "", "<", 10).judge_value(0, 90),
        Limit("requests sent of plan", "", ">=", 0.98).disabled("nothing was planned"),
    ]
    result(directory, growth, suite="soak", files=["resources.csv"])
    latency(directory, {"heartbeat": (2, 2.1)}, 1800, suite="soak")
    resources(directory)
    return directory


def taught(directory: Path) -> Path:
    """The demonstration of the broker: two labs, one student who waited, one who vanished, one who was told 503."""

    def student(name: str, lab: str, spans: list[tuple[str, int, int]], **moments: int) -> dict[str, Any]:
        told = [{"state": state, "from_ms": low, "to_ms": high} for state, low, high in spans]
        happened = [{"event": event, "t_ms": at} for event, at in moments.items()]
        return {"student": name, "lab": lab, "spans": told, "moments": happened}

    students = [
        student("s01", "docker-intro", [("holding", 100, 9000)], looked=3000, extended=5000, released=9000),
        student("s03", "docker-intro", [("waiting", 500, 4000), ("holding", 4000, 8000)], refused=510, released=8000),
        student("s02", "terraform-101", [("holding", 200, 2000), ("left", 2000, 12000)], repeated=900, expired=12000),
    ]
    students[0]["moments"].append({"event": "failed", "t_ms": 7000, "status": 503})
    limit = Limit("errors", "requests", "==", 0).judge_value(1, 9)
    result(directory, [limit], suite="sandboxes", notes=["3 students of 2 labs"], files=["students.json", "pool.json"])
    document = {"suite": "sandboxes", "started_at": timestamp(START), "students": students}
    write_json(directory / "students.json", document, "students")
    courses = {
        "available": (3, 0, 0),
        "allocated": (0, 3, 0),
        "deleting": (0, 0, 1),
        "deleted": (0, 0, 2),
        "stale": (0,),
    }
    answers = {
        name: [[5.0 * n, 3.0 + n] for n in range(3)] for name in ("a new sandbox", "the same again", "none free")
    }
    points = {name: [[5.0 * n, held] for n, held in enumerate(helds)] for name, helds in courses.items()}
    pool = {"suite": "sandboxes", "started_at": timestamp(START), "interval_s": 5, "pool": points, "answers": answers}
    write_json(directory / "pool.json", pool, "pool")
    return directory


def shown(directory: Path) -> Path:
    """The demonstration of the platform: agents of two zones that worked, one that fell silent, their tasks."""

    def lane(name: str, spans: list[tuple[str, int, int]], **moments: int) -> dict[str, Any]:
        told = [{"state": state, "from_ms": low, "to_ms": high} for state, low, high in spans]
        happened = [{"event": event, "t_ms": at} for event, at in moments.items()]
        return {"name": name, "group": name.partition("-")[0], "spans": told, "moments": happened}

    enrolling, working = ("enrolling", 100, 900), ("working", 1500, 2500)
    agents = [
        lane("alpha-agent-1", [enrolling, working], connected=900, heartbeat=1000, completed=2500, stored=2600),
        lane("beta-agent-1", [enrolling, ("silent", 3000, 9000)], connected=900, heartbeat=2000),
        lane("beta-agent-2", [enrolling, ("working", 8000, 8500)], connected=900, failed=8500),
    ]
    tasks = [
        lane("alpha-001", [("queued", 500, 1500), ("running", 1500, 2500)], completed=2500),
        lane("beta-001", [("queued", 500, 3000), ("left", 3000, 8000), ("running", 8000, 8500)], retried=8500),
        lane("beta-002", [("queued", 700, 2000), ("running", 2000, 2400)], failed=2400),
    ]
    limit = Limit("errors", "requests", "==", 0).judge_value(0, 40)
    result(directory, [limit], suite="platform", notes=["3 agents of 2 zones"], files=["platform.json"])
    document = {"suite": "platform", "started_at": timestamp(START), "agents": agents, "tasks": tasks}
    write_json(directory / "platform.json", document, "platform")
    return directory


SUITES = {
    "sim20": whole,
    "acceptance": broken,
    "empty": empty,
    "capacity": rising,
    "chaos": shaken,
    "mutants": hunted,
    "soak": soaked,
    "sandboxes": taught,
    "platform": shown,
}
