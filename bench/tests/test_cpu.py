"""What a process tree spends while it is looked at, and only then; one that ends takes nothing back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.cpu import Spent

BURN = """
import sys, time
for _ in sys.stdin:
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    print("burnt", flush=True)
"""


def test_blocks_are_added_up_and_what_lies_between_is_not() -> None:
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def burn() -> None:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()

        burn()  # with the interpreter's start
        spent = Spent(process.pid)
        with spent:
            burn()
        burn()
        with spent:
            burn()
        used_s = spent.total_s
        assert used_s == pytest.approx(0.4, abs=0.05)
        with spent:
            process.communicate()
    assert spent.total_s == pytest.approx(used_s, abs=0.1)
