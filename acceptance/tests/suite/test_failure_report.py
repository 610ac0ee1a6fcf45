"""What a failing case shows: each row of equal requests once, answers cut, no secret."""

from acceptance.suite import failure_report
from harness.http.client import Answer
from harness.http.curl import Exchange

TOKEN = "nxe_" + "A" * 43


def exchange(number: int, path: str, body: bytes | None = b"{}") -> Exchange:
    answer = None if body is None else Answer(200, {}, body, 1.0, f"r-{number}")
    return Exchange("GET", path, f"r-{number}", answer, lambda: f"curl {path}")


def test_waiting_does_not_push_the_requests_out_that_matter() -> None:
    asked = [exchange(1, "/a"), *(exchange(number, "/metrics") for number in range(2, 60)), exchange(60, "/a")]
    rows = failure_report.in_rows(asked)
    assert [(row[-1].path, row[-1].request_id, len(row)) for row in rows] == [
        ("/a", "r-1", 1),
        ("/metrics", "r-59", 58),
        ("/a", "r-60", 1),
    ]
    assert failure_report.told(rows[1][-1], 58).startswith("curl /metrics  # the last of 58 in a row\n")


def test_an_answer_is_cut_and_masked() -> None:
    assert failure_report.told(exchange(1, "/a", TOKEN.encode())) == "curl /a\n  -> 200 ***"
    long = exchange(1, "/a", b"# HELP\n" + b"x" * 5000)
    assert failure_report.told(long) == "curl /a\n  -> 200 # HELP ... (5007 bytes)"
    assert failure_report.told(exchange(1, "/a", None)) == "curl /a\n  -> no answer"
