"""A real browser on rendered reports. It has no network: a page that wants one fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Playwright, sync_playwright

from harness.settings import artifacts
from report.page import write
from report.tests import builder

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@contextmanager
def _browser(playwright: Playwright, profile: Path, *, scripts: bool) -> Iterator[BrowserContext]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert chromium, "no chromium: install Debian's package, or set CHROMIUM to the program"
    context = playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium, args=FLAGS, headless=True, java_script_enabled=scripts, offline=True
    )
    try:
        yield context
    finally:
        context.close()


@pytest.fixture(scope="session")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with _browser(playwright, tmp_path_factory.mktemp("profile"), scripts=True) as context:
        yield context


@pytest.fixture(scope="session")
def scriptless(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with _browser(playwright, tmp_path_factory.mktemp("profile"), scripts=False) as context:
        yield context


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of each fixture suite by its name."""
    root = tmp_path_factory.mktemp("artifacts")
    return {name: write(make(root / name)) for name, make in builder.SUITES.items()}


@pytest.fixture(scope="session")
def screenshots() -> Path:
    folder = artifacts("browser")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
