"""The report in Chromium: drawn, legible, within the screen, quiet and offline, on a phone and a desk, light and dark.

Runs in a session of its own, with the environment `browser`. It compares no pixels: screenshots are for people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from report.tests import builder

LOOK = Path(__file__).with_name("look.js").read_text(encoding="utf-8")
PLOTS = {
    "sim20": 7,
    "acceptance": 0,
    "empty": 0,
    "capacity": 4,
    "mutants": 0,
    "soak": 4,
    "chaos": 0,
    "sandboxes": 3,
    "platform": 2,
}
SIZES = {"phone": (360, 740), "desk": (1280, 900)}


def visit(browser: BrowserContext, report: Path, size: str, scheme: Any, screenshot: Path) -> dict[str, Any]:
    """Open the file, keep a screenshot, and return what a reader would see; the page must be quiet and alone."""
    page = browser.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    try:
        page.goto(report.as_uri())
        page.screenshot(path=screenshot, full_page=True)
        found: dict[str, Any] = page.evaluate(LOOK)
    finally:
        page.close()
    assert not said
    # The icon of no bytes is no request to anybody.
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    return found


def legible(found: dict[str, Any], plots: int) -> None:
    assert found["texts"] > 30
    assert found["plots"] == plots
    for fault in ("empty", "faint", "overlapping", "cut"):
        assert not found[fault], fault
    assert found["wide"] <= 0, "the page scrolls sideways"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", builder.SUITES)
def test_a_report_is_drawn_and_legible(
    name: str, size: str, scheme: str, browser: BrowserContext, reports: dict[str, Path], screenshots: Path
) -> None:
    found = visit(browser, reports[name], size, scheme, screenshots / f"{name}-{size}-{scheme}.png")
    legible(found, PLOTS[name])


def test_a_report_needs_no_scripts(scriptless: BrowserContext, reports: dict[str, Path], screenshots: Path) -> None:
    shot = screenshots / "sim20-phone-without-scripts.png"
    legible(visit(scriptless, reports["sim20"], "phone", "light", shot), PLOTS["sim20"])


def test_the_eye_of_these_tests_is_not_blind(browser: BrowserContext, tmp_path: Path) -> None:
    """A page with every fault that the others look for: each is found."""
    page = tmp_path / "bad.html"
    text = '<text class="tick" x="{}" y="20">same place</text>'
    svg = f'<svg id="p" class="plot" width="300" height="90">{text.format(0)}{text.format(5)}{text.format(290)}</svg>'
    wide = '<p style="width: 3000px; color: #aaa; background: #fff">faint and wide</p>'
    page.write_text(f"<!DOCTYPE html><body>{wide}<div class=canvas style='width: 300px'>{svg}</div>")
    found = visit(browser, page, "phone", "light", tmp_path / "bad.png")
    assert found["wide"] > 0
    assert found["faint"] == ["faint and wide: 2.32"]
    assert found["overlapping"] == ["p: same place / same place"]
    assert found["cut"] == ["p: same place"]
    assert found["empty"] == ["p"]
