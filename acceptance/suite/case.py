"""The mark that makes a test a case: a stable id, its requirement, what it proves, and what it needs of the target.

Does not run or judge anything: conftest.py reads the mark, results.py writes it down.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

ID = re.compile(r"[a-z]+(-[a-z]+)*/[0-9]{3}")
PAIR = re.compile(r"([a-z][A-Za-z]*|\*) ([1-5][0-9]{2}|[a-z][a-z_]*)")
DISABLED = "disabled: this run was not given "
# A case needs what its fixtures look into; nothing is declared twice.
NEEDS = {
    "db": {"database"},
    "unchanged": {"database"},
    "logs": {"logs"},
    "fcm": {"fcm"},
    "sockets": {"process"},  # a proxy before a given deployment would answer in its own words
    "own_files": {"stack"},
    "fresh_backend": {"stack"},
    "two_workers": {"stack"},
    "pool": {"stack"},
    "platform": {"stack"},
    "sweeping": {"stack"},
    "on_s3": {"stack"},
    "open_to_labs": {"stack"},
    "nexmdm": {"stack"},
    "app_role": {"app role"},
    "reader_role": {"reader role"},
}

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Case:
    case_id: str
    requirement: str
    proves: tuple[str, ...] = ()


def case(case_id: str, *proves: str, slow: str = "") -> Callable[[F], F]:
    """Marks a test function as the case with this id; the first line of its docstring is the requirement.

    proves: the documented answers that the case is about, such as "registerDevice 401", or "* 503" for that status of
    every operation that it calls; of a call of JSON-RPC its result or the code of its error: "readFile result",
    "readFile not_found". What it merely needs on its way is not named: the coverage gate counts these alone.
    slow: why a plain run leaves it out: it kills processes, waits more than 5 s, or needs more than 2 s of CPU.
    """
    if not ID.fullmatch(case_id):
        raise ValueError(f"{case_id!r} is not noun/NNN")
    if wrong := [pair for pair in proves if not PAIR.fullmatch(pair)]:
        raise ValueError(f"{case_id}: {', '.join(wrong)} is not `operationId answer`")

    def mark(function: F) -> F:
        requirement = (function.__doc__ or "").strip().partition("\n")[0]
        if not requirement:
            raise ValueError(f"{case_id}: the first line of the docstring has to state the requirement")
        marked: F = pytest.mark.case(Case(case_id, requirement, proves))(function)
        return pytest.mark.slow(marked) if slow else marked

    return mark


def of(item: pytest.Item) -> Case | None:
    """The case that a collected test belongs to; None for tests of the suite itself."""
    mark = item.get_closest_marker("case")
    return mark.args[0] if mark else None


def needs(item: pytest.Item) -> frozenset[str]:
    """Which capabilities (stacks.capabilities) the case cannot do without."""
    names: Iterable[str] = getattr(item, "fixturenames", ())
    return frozenset(need for name in names for need in NEEDS.get(name, ()))


def disable(items: Iterable[pytest.Item], given: frozenset[str]) -> None:
    """Marks every case that needs more than the run was given; such a case counts as disabled, never as passed."""
    for item in items:
        missing = needs(item) - given
        if missing:
            item.add_marker(pytest.mark.skip(reason=DISABLED + ", ".join(sorted(missing))))


def check(items: Iterable[pytest.Item]) -> None:
    """Raises pytest.UsageError for a test that is no case, and for an id that stands on two tests."""
    owner: dict[str, str] = {}
    for item in items:
        found = of(item)
        name = item.nodeid.partition("[")[0]
        if found is None:
            if "/tests/" not in item.nodeid:
                raise pytest.UsageError(f"{item.nodeid} has no @case")
        elif owner.setdefault(found.case_id, name) != name:
            raise pytest.UsageError(f"{found.case_id} stands on {owner[found.case_id]} and on {name}")


def pick(items: Iterable[pytest.Item], wanted: Iterable[str]) -> list[pytest.Item]:
    """The tests of these cases. Raises pytest.UsageError for an id that no test has."""
    by_id: dict[str, list[pytest.Item]] = {}
    for item in items:
        if found := of(item):
            by_id.setdefault(found.case_id, []).append(item)
    if unknown := [case_id for case_id in wanted if case_id not in by_id]:
        raise pytest.UsageError(f"no such case: {', '.join(unknown)}")
    return [item for case_id in dict.fromkeys(wanted) for item in by_id[case_id]]
