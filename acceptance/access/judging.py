"""Whether every operation answers a credential as the table of matrix.py says, with its log lines and metrics."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acceptance.access.matrix import ACCEPTED, KEYS, NOT_JUDGED, TABLE, Scene, forget_altered
from acceptance.access.requests import CALLS, Proof, is_let_in, is_refused, send
from acceptance.system.system import System
from harness.http.client import Answer

# What uses a token up or ends a device comes last.
ENDING = ["OPTIONS", "HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"]


@contextmanager
def naming(operation: str, credential: str) -> Iterator[None]:
    """A failure in the block names the cell of the table."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{operation} with {credential}: {error}") from error


def judge(answer: Answer, operation: str, cell: str, system: System) -> None:
    """The answer is what the cell of the table says, and so are the log lines."""
    logs = system.logs
    if cell == ACCEPTED:
        assert is_let_in(operation, answer), f"expected to be let in, got {answer.status}: {answer.body[:300]!r}"
        assert not logs.of(answer, "sec.auth.fail")
        return
    status, code = cell.split()
    is_refused(operation, answer, int(status), code)
    logs.expect(answer, "sec.auth.fail", code=code, level="WARNING")
    if operation == "registerDevice":
        logs.expect(answer, "register.fail", code=code)
    if code == "token_expired":
        line = logs.expect(answer, "sec.token.expired", level="WARNING")
        query = "select alias from enrollment_tokens where token_id = %s and expires_at < now()"
        assert system.db.value(query, line["token_id"]) == line["alias"]
    others = [line["event"] for line in logs.since() if line["request_id"] == answer.request_id]
    allowed = {"sec.auth.fail", "register.fail", "sec.token.expired", "http.request"}
    assert set(others) <= allowed, f"more than a refusal: {others}"
    assert others.count("sec.auth.fail") == 1, others


def failures(cells: list[str]) -> dict[str, float]:
    """By how much the counters of failed authentications grow over requests with these cells."""
    codes = Counter(cell.split()[1] for cell in cells if " " in cell)
    counted = {f'nexmdm_auth_failures_total{{code="{code}"}}': float(count) for code, count in codes.items()}
    return {"nexmdm_auth_failures_total": float(codes.total()), **counted}


def judge_row(credential: str, make: Callable[[Scene], Proof], scene: Scene) -> dict[str, Answer]:
    """Send every operation with the credential and judge each cell of its row; the answers that let it in.

    scene: what refused requests ask for, so that it stays good.
    """
    row, system = TABLE[credential], scene.system
    cells = {name: row[one.caller] for name, one in CALLS.items() if row[one.caller] != NOT_JUDGED}
    opened = [name for name, cell in cells.items() if cell == ACCEPTED and CALLS[name].caller != "open"]
    mine = Scene.of(system) if opened else scene
    proof = make(mine)
    with system.unchanged(), system.metrics.moves(failures(list(cells.values()))):
        answers = {name: send(system.api, name, proof, mine.about) for name in cells if name not in opened}
        for name, answer in answers.items():
            with naming(name, credential):
                judge(answer, name, cells[name], system)
    for name in sorted(opened, key=lambda name: ENDING.index(CALLS[name].method)):
        with naming(name, credential):
            answers[name] = send(system.api, name, proof, mine.about)
            judge(answers[name], name, ACCEPTED, system)
    if credential in KEYS:
        forget_altered(system)
    return {name: answers[name] for name in opened}
