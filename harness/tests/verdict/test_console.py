"""Progress overwrites itself on a terminal and is rare elsewhere; what is said stays."""

import io
import re

from harness.verdict.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_progress_comes_now_and_then() -> None:
    stream = io.StringIO()
    console = Console("suite", stream)
    for number in range(3):
        console.progress(f"{number} done")
    console.say("over")
    lines = stream.getvalue().splitlines()
    assert [re.sub(r"^\[suite +\d+\.\d s\] ", "", line) for line in lines] == ["0 done", "over"]


def test_on_a_terminal_each_replaces_the_one_before() -> None:
    stream = Terminal()
    console = Console("suite", stream)
    console.progress("1 done")
    console.progress("2 done")
    console.say("over")
    *overwritten, last = stream.getvalue().split("\r")
    assert [line.strip()[-6:] for line in overwritten] == ["", "1 done", "2 done", ""]
    assert last.endswith("over\n")
    assert stream.getvalue().count("\n") == 1
