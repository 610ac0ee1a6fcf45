"""A page beside Locust's own: exact percentiles while a run goes on, and its verdict when it is over."""

from __future__ import annotations

from typing import Any, Protocol

from flask import render_template_string
from locust.web import WebUI

from load.measurements.histogram import QUANTILES
from load.measurements.run import Scenario
from load.progress import Conducted

PATH = "/verdict"

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ name }}: {{ document.verdict if document else state }}</title>
{% if not document %}<meta http-equiv="refresh" content="2">{% endif %}
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
  table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .8rem; text-align: right; }
  th:first-child, td:first-child { text-align: left; } tr + tr { border-top: 1px solid #8884; }
</style>
<h1>{{ name }}: {{ document.verdict if document else state }}</h1>
<p>{{ plan }}. <a href="/">Locust</a> starts and stops it; its own percentiles are rounded, these are not.</p>
{% if trouble %}<p>It could not begin: {{ trouble }}</p>{% endif %}
{% if figures %}<p>{{ figures }}</p>{% endif %}
{% if kinds %}
<table>
<tr><th>latency, ms</th><th>n</th><th>errors</th>{% for q in quantiles %}<th>{{ q }}</th>{% endfor %}</tr>
{% for kind in kinds %}<tr><td>{{ kind.kind }}</td><td>{{ kind.n }}</td><td>{{ kind.errors }}</td>
{% for value in kind.percentiles %}<td>{{ "%.2f" % value if value is not none else "-" }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% endif %}
{% if document %}
{% for reason in document.reasons %}<p>Because {{ reason }}</p>{% endfor %}
<table>
<tr><th>limit</th><th>observed</th><th>wanted</th><th>n</th><th></th></tr>
{% for limit in document.limits %}<tr><td>{{ limit.name }}</td>
<td>{{ "%.4g" % limit.observed if limit.observed is not none else "-" }} {{ limit.unit }}</td>
<td>{{ limit.op }} {{ "%g" % limit.value }} {{ limit.unit }}</td><td>{{ limit.n }}</td><td>{{ limit.status }}</td></tr>
{% endfor %}</table>
<table>
<tr><th>check</th><th></th></tr>
{% for check in document.checks %}<tr><td>{{ check.title }}: {{ check.detail }}</td><td>{{ check.status }}</td></tr>
{% endfor %}</table>
{% endif %}
</html>
"""


class Source(Protocol):
    """Where the page looks: the present run, its result.json once it is over, and why there is none."""

    conducted: Conducted | None
    document: dict[str, Any] | None
    trouble: str


class VerdictPage:
    """It reads the run at each call."""

    def __init__(self, source: Source, scenario: Scenario) -> None:
        self._source, self._scenario = source, scenario

    def add_to(self, web_ui: WebUI) -> None:
        """Serve it under PATH."""
        assert web_ui.app is not None
        web_ui.app.add_url_rule(PATH, "verdict", self.render)

    def render(self) -> str:
        conducted = self._source.conducted
        now = conducted.now() if conducted else None
        return render_template_string(
            _PAGE,
            name=self._scenario.name,
            plan=(conducted.run.scenario if conducted else self._scenario).plan,
            state=now.phase if now else "not begun",
            figures=now.figures if now else "",
            trouble=self._source.trouble,
            document=self._source.document,
            quantiles=["slowest" if q == 1 else f"p{q * 100:g}" for q in QUANTILES],
            kinds=_kinds(conducted) if conducted else [],
        )


def _kinds(conducted: Conducted) -> list[dict[str, Any]]:
    timings = conducted.run.timings()
    wholes = [(kind, timings.whole(kind)) for kind in sorted(timings.course)]
    return [
        {
            "kind": kind,
            "n": whole.n,
            "errors": whole.errors,
            "percentiles": [whole.percentile_ms(q) for q in QUANTILES],
        }
        for kind, whole in wholes
    ]
