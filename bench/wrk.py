"""Requests as fast as a server answers them: wrk, its script, and what it counted.

It takes no latency from wrk: a closed loop waits with a slow server, and so hides how slow it is. What
wrk sends is prepared before the clock starts, so that one of its threads can outrun the servers measured here.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.processes.child import bare_environment, run_to_end, workspace
from harness.settings import HarnessError

CONNECTIONS = 128
BODY = (
    '{"status":"ok","battery_pct":87,"plugged":true,"temp_c":31.5,"network_type":"wifi","signal_dbm":-61,'
    '"uptime_s":86400,"ram_used_mb":2048,"unity_pkg_version":"1.2.3","unity_running":true,"agent_version":"1.4.2"}'
)
_SCRIPT = """
local requests, place = {}, 0
function init(arguments)
  place = tonumber(arguments[1])
  local headers = {["Content-Type"] = "application/json"}
  for token in io.lines("%(tokens)s") do
    headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format("POST", nil, headers, '%(body)s')
  end
end
function request()
  place = place %% #requests + 1
  return requests[place]
end
function done(summary)
  local e = summary.errors
  print(string.format("bench: %%d requests in %%d us, %%d refused, %%d lost", summary.requests, summary.duration,
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""
_SAID = re.compile(r"^bench: (\d+) requests in (\d+) us, (\d+) refused, (\d+) lost$", re.MULTILINE)


class WrkError(HarnessError):
    """wrk is missing, or broke."""


@dataclass(frozen=True)
class Load:
    """What one round of wrk came to. `refused`: answers of 400 and above; `lost`: no answer at all."""

    requests: int
    duration_s: float
    refused: int
    lost: int

    @property
    def per_s(self) -> float:
        return self.requests / self.duration_s

    @property
    def bad(self) -> int:
        return self.refused + self.lost


def command() -> str:
    """Where wrk is. WrkError, which says how to get it, where it is not."""
    found = shutil.which("wrk")
    if found is None:
        raise WrkError("wrk is not installed: `apt-get install wrk` (Debian, Ubuntu) or `brew install wrk`")
    return found


def parse(said: str) -> Load:
    """The round that wrk reports. WrkError when it reports none."""
    match = _SAID.search(said)
    if match is None or not int(match[2]):
        raise WrkError(f"wrk did not report its round: {said.strip()[-300:]}")
    return Load(int(match[1]), int(match[2]) / 1e6, int(match[3]), int(match[4]))


class Wrk:
    """Heartbeats of the same devices, one after another: each round goes on where the last one ended."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._command = command()
        self.devices = len(tokens)
        self._place = 0
        self.ended_at = 0.0  # of the last round, seconds since the epoch
        folder = workspace("wrk")
        file = folder / "tokens"
        file.write_text("\n".join(tokens), encoding="utf-8")
        self._script = folder / "heartbeats.lua"
        self._script.write_text(_SCRIPT % {"tokens": file, "body": BODY}, encoding="utf-8")

    def round(self, url: str, duration_s: int) -> Load:
        """POST to `url` over 128 connections for so many whole seconds."""
        options = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", str(duration_s)]
        argv = [self._command, *options, "--script", str(Path(self._script)), url, "--", str(self._place)]
        code, said = run_to_end(argv, env=bare_environment({}), within_s=duration_s + 30)
        if code:
            raise WrkError(f"wrk ended with exit code {code}: {said.strip()[-300:]}")
        load = parse(said)
        self.ended_at = time.time()
        self._place = (self._place + load.requests) % self.devices
        return load

    def warm(self, url: str, passes: int = 1) -> None:
        """Send until every device was heard `passes` times: the first of a device costs its server a bcrypt check."""
        sent = 0
        while sent < passes * self.devices:
            sent += self.round(url, 2).requests
