"""What is shipped: the backend's wheel and source archive with their sums, and a bill of the materials they need.

`python -m ci.dist` builds twice, from two copies that differ in all that must not matter (path, time stamps, time zone,
locale, umask, hash seed), and wants the same bytes. It publishes and signs nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ci.environments import BACKEND, BACKEND_LOCK
from harness.settings import artifacts
from harness.verdict.artifacts import Envelope, write_result
from harness.verdict.thresholds import Check, Status, exit_code, judge

SUITE: Final = "dist"
SBOM: Final = "sbom.cdx.json"
SUMS: Final = "SHA256SUMS"
_LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info")
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)|--hash=sha256:([0-9a-f]{64})", re.MULTILINE)
# What differs between the two builds: folder, environment, umask, age of the files.
_HERE: Final = ("a", {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, 0o022, 0.0)
_ELSEWHERE: Final = (
    "another/folder with a blank",
    {"TZ": "Pacific/Auckland", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"},
    0o077,
    400 * 86400.0,
)

Setting = tuple[str, Mapping[str, str], int, float]


def build(builder: Path, source: Path, work: Path, setting: Setting) -> Path:
    """The folder with wheel and source archive of a copy of `source`. `builder`: a Python that has hatchling."""
    name, env, umask, age_s = setting
    copy, target = work / name / "source", work / name / "built"
    shutil.copytree(source, copy, ignore=_LEFT_OUT)
    then = time.time() - age_s
    for path in [copy, *copy.rglob("*")]:
        os.utime(path, (then, then))
        path.chmod(path.stat().st_mode & 0o700 if umask == 0o077 else path.stat().st_mode)
    command = [str(builder), "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(target)]
    bare = {"PATH": os.environ.get("PATH", ""), "HOME": str(work), **env}
    done = subprocess.run(command, cwd=copy, env=bare, umask=umask, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"dist: the build ended with exit code {done.returncode}: {done.stderr.strip()[-1000:]}")
    return target


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def same(first: Mapping[str, str], second: Mapping[str, str]) -> Check:
    """Whether two builds gave the same bytes, and one wheel and one source archive."""
    title = "two builds from different places and times are equal, byte for byte"
    kinds = sorted(
        "wheel" if name.endswith(".whl") else "sdist" for name in first if name.endswith((".whl", ".tar.gz"))
    )
    differ = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    if kinds != ["sdist", "wheel"]:
        return Check("dist/reproducible", title, Status.FAIL, f"built: {', '.join(first) or 'nothing'}")
    return Check("dist/reproducible", title, Status.FAIL if differ else Status.PASS, ", ".join(differ or first))


def tested(wheel: Path, shipped: Mapping[str, str]) -> Check:
    """Whether the wheel that all suites run is the one that is shipped."""
    title = "the wheel that the suites run is the one that is shipped"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Check("dist/tested", title, Status.PASS if shipped.get(wheel.name) == digest else Status.FAIL, digest)


def locked(lock: str) -> dict[tuple[str, str], set[str]]:
    """(name, version) -> SHA-256 sums, of every pin of a requirements file."""
    found: dict[tuple[str, str], set[str]] = {}
    last: set[str] = set()
    for name, version, digest in _PIN.findall(lock):
        if name:
            last = found.setdefault((name.lower(), version), set())
        else:
            last.add(digest)
    return found


def listed(sbom: Mapping[str, Any]) -> dict[tuple[str, str], set[str]]:
    """The same, of every component of a CycloneDX document."""
    return {
        (component["name"].lower(), component["version"]): {
            entry["content"]
            for reference in component.get("externalReferences", [])
            for entry in reference.get("hashes", [])
            if entry["alg"] == "SHA-256"
        }
        for component in sbom["components"]
    }


def complete(sbom: Mapping[str, Any], lock: str) -> Check:
    """Whether the bill names exactly what is locked, with exactly its sums."""
    title = "the bill of materials is requirements.lock, no more and no less, with its sums"
    wanted, found = locked(lock), listed(sbom)
    wrong = sorted({name for (name, _), _ in set(_pairs(wanted)) ^ set(_pairs(found))})
    if not wanted:
        return Check("dist/sbom", title, Status.FAIL, "the lock is empty")
    return Check(
        "dist/sbom", title, Status.FAIL if wrong else Status.PASS, ", ".join(wrong) or f"{len(found)} components"
    )


def _pairs(entries: Mapping[tuple[str, str], set[str]]) -> list[tuple[tuple[str, str], frozenset[str]]]:
    return [(pin, frozenset(digests)) for pin, digests in entries.items()]


def bill(cyclonedx: Path, target: Path) -> dict[str, Any]:
    """Write the bill of materials of the backend's lock, checked against the schema of CycloneDX."""
    command = [str(cyclonedx), "requirements", str(BACKEND_LOCK), "--pyproject", str(BACKEND / "pyproject.toml")]
    command += ["--sv", "1.6", "--of", "JSON", "--output-reproducible", "--validate", "-o", str(target)]
    # The index is left at its public default: that of this machine is nobody's business.
    env = {"PATH": os.environ.get("PATH", "")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"dist: cyclonedx-py ended with exit code {done.returncode}: {done.stderr.strip()[-1000:]}")
    document: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return document


def main() -> int:
    """Build, compare, write artifacts/dist. Returns the exit code of the verdict."""
    parser = argparse.ArgumentParser(prog="python -m ci.dist", description=__doc__)
    parser.add_argument("--builder", type=Path, required=True, help="a Python with the locked hatchling")
    parser.add_argument("--cyclonedx", type=Path, required=True, help="cyclonedx-py")
    parser.add_argument("--tested", type=Path, required=True, help="the wheel that the suites run")
    given = parser.parse_args()
    started_at = time.time()
    folder = artifacts(SUITE)
    for old in folder.iterdir():
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="nexmdm-dist-") as work:
        first, second = (build(given.builder, BACKEND, Path(work), setting) for setting in (_HERE, _ELSEWHERE))
        built = sums(first)
        checks = [same(built, sums(second)), tested(given.tested, built)]
        for name in built:
            shutil.copyfile(first / name, folder / name)
    checks.append(complete(bill(given.cyclonedx, folder / SBOM), BACKEND_LOCK.read_text(encoding="utf-8")))
    lines = (f"{digest}  {name}\n" for name, digest in sums(folder).items())
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    files = sorted(path.name for path in folder.iterdir())
    verdict = judge([], checks)
    write_result(folder, Envelope(SUITE, started_at, time.time(), verdict, checks=checks, files=files))
    for check in checks:
        print(f"dist: {check.status.value}: {check.title}: {check.detail}")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(exit_code(main))
