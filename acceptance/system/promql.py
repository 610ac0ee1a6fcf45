"""What a PromQL expression speaks of: metrics, the labels that it matches, the labels that it groups by.

Does not evaluate anything: promql_parser parses as Prometheus does, and a page of metrics answers.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser
from promql_parser import AggModifierType, MatchOp

from harness.http.prometheus import Sample

ADDED_BY_PROMETHEUS = frozenset({"instance", "job"})
_GRAFANAS = {"$__rate_interval": "5m"}


def parsed(expression: str) -> Any:
    """The tree of an expression, Grafana's variables filled in. ValueError where Prometheus would refuse it."""
    for variable, value in _GRAFANAS.items():
        expression = expression.replace(variable, value)
    return promql_parser.parse(expression)


def faults(expression: str, samples: Mapping[Sample, float]) -> list[str]:
    """What the expression asks for that no sample has: a metric, a label, a value. Empty: it can be answered."""
    try:
        tree = parsed(expression)
    except ValueError as error:
        return [f"no PromQL: {error}"]
    found: list[str] = []
    selectors = list(_selectors(tree))
    labels: set[str] = set()
    for selector in selectors:
        of_metric = [dict(pairs) for name, pairs in samples if name == selector.name]
        labels |= {label for pairs in of_metric for label in pairs}
        if not of_metric:
            found.append(f"no metric {selector.name}")
        for matcher in selector.matchers.matchers:
            wanted = f'{selector.name}{{{matcher.name}="{matcher.value}"}}'
            if of_metric and not any(matcher.name in pairs for pairs in of_metric):
                found.append(f"no label in {wanted}")
            elif (
                of_metric
                and matcher.op == MatchOp.Equal
                and matcher.value not in {p.get(matcher.name) for p in of_metric}
            ):
                found.append(f"no value in {wanted}")
    if not selectors:
        found.append("no metric at all")
    found += [f"no label {label} to group by" for label in sorted(_grouped(tree) - labels - ADDED_BY_PROMETHEUS)]
    return found


def _selectors(tree: Any) -> Iterator[Any]:
    for node in _nodes(tree):
        if isinstance(node, promql_parser.VectorSelector):
            yield node


def _grouped(tree: Any) -> set[str]:
    """By which labels the expression sums up; `without (...)` names what is not needed."""
    return {
        label
        for node in _nodes(tree)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None
        for label in node.modifier.labels
        if node.modifier.type == AggModifierType.By
    }


def _nodes(tree: Any) -> Iterator[Any]:
    yield tree
    for name in ("expr", "lhs", "rhs", "vector_selector", "args", "param"):
        below = getattr(tree, name, None)
        for child in below if isinstance(below, list) else [below]:
            if isinstance(child, promql_parser.Expr):
                yield from _nodes(child)


def named_labels(text: str) -> set[str]:
    """The labels that the words of an alert or a legend put in: {{ $labels.code }}, {{code}}."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}", text))
