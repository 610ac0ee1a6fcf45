"""Runs commands side by side, at most N at a time, and prints what each said when it ends: `N COMMAND --- COMMAND`.

Exit code: the worst of theirs (ci/exit_codes.py), 130 after Ctrl-C, which each of them is told too.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby
from typing import Final

from ci import exit_codes

BETWEEN: Final = "---"


class SideBySide:
    """One run of several commands. `interrupt` ends them, and starts no other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[bytes]] = set()
        self._interrupted = False

    def run(self, commands: Sequence[Sequence[str]], at_once: int) -> list[int]:
        """The exit codes, in the order in which the commands end."""
        codes = []
        with ThreadPoolExecutor(at_once) as pool:
            ends = [pool.submit(self._one, command) for command in commands]
            try:
                for end in as_completed(ends):
                    code, said = end.result()
                    sys.stdout.buffer.write(said)
                    sys.stdout.flush()
                    codes.append(code)
            except KeyboardInterrupt:
                self.interrupt()
                raise
        return codes

    def interrupt(self) -> None:
        """SIGINT to what runs; a terminal has sent it too, and a second one hurts none of them."""
        with self._lock:
            self._interrupted = True
            for process in self._live:
                process.send_signal(signal.SIGINT)

    def _one(self, command: Sequence[str]) -> tuple[int, bytes]:
        with self._lock:
            if self._interrupted:
                return exit_codes.INTERRUPTED, b""
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self._live.add(process)
        said, _ = process.communicate()
        with self._lock:
            self._live.discard(process)
        return process.returncode, said


def main(argv: Sequence[str]) -> int:
    at_once, *words = argv
    commands = [list(part) for is_command, part in groupby(words, lambda word: word != BETWEEN) if is_command]
    try:
        codes = SideBySide().run(commands, int(at_once))
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    return exit_codes.worst(int(any(codes)), [code for code in codes if code])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
