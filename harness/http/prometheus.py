"""A page of metrics in Prometheus' text format as samples, and sums over them. It scrapes nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, frozenset[tuple[str, str]]]


def parse(page: str, names: Collection[str] = ()) -> dict[Sample, float]:
    """Every sample of the page, or those of some names alone: the rest takes long. ValueError: it is none."""
    if names:
        page = "".join(line for line in page.splitlines(keepends=True) if name_of(line) in names)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def total(samples: Mapping[Sample, float], selector: str) -> float:
    """The sum over the samples that a selector such as name{label="value"} picks; 0.0 when it picks none."""
    [(name, wanted)] = parse(f"{selector} 0\n")
    return sum(value for (found, labels), value in samples.items() if found == name and wanted <= labels)


def name_of(selector: str) -> str:
    """The name in a selector, or in a line of a page."""
    return re.split("[{ ]", selector, maxsplit=1)[0]
