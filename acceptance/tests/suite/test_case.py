"""Ids must be unique, requirements stated, and a case that needs what is not there must be disabled."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from acceptance.suite import case as cases


def item(name: str, case_id: str | None = None, fixtures: Iterable[str] = ()) -> Any:
    mark = SimpleNamespace(args=(cases.Case(case_id, "It works"),)) if case_id else None
    marks: list[Any] = []
    return SimpleNamespace(
        nodeid=name, fixturenames=fixtures, marks=marks, get_closest_marker=lambda _: mark, add_marker=marks.append
    )


@pytest.mark.parametrize("bad", ["register", "register/1", "Register/001", "register/0001", ""])
def test_an_id_has_one_shape(bad: str) -> None:
    with pytest.raises(ValueError, match="noun/NNN"):
        cases.case(bad)


@pytest.mark.parametrize(
    "bad", ["registerDevice", "registerDevice/401", "register-device 401", "registerDevice 4xx", "readFile -32000"]
)
def test_what_a_case_proves_has_one_shape(bad: str) -> None:
    with pytest.raises(ValueError, match="operationId answer"):
        cases.case("register/001", "* 503", "readFile result", "* not_found", bad)


def test_picked_are_the_tests_of_these_cases_and_no_others() -> None:
    items = [item("a.py::a[1]", "x/001"), item("a.py::b", "x/002"), item("a.py::a[2]", "x/001"), item("tests/t.py::t")]
    assert cases.pick(items, ["x/001", "x/001"]) == [items[0], items[2]]
    with pytest.raises(pytest.UsageError, match="x/003"):
        cases.pick(items, ["x/001", "x/003"])


def test_a_case_states_its_requirement() -> None:
    with pytest.raises(ValueError, match="state the requirement"):
        cases.case("register/001")(lambda: None)


def test_an_id_stands_on_one_test() -> None:
    cases.check([item("a.py::test_a[1]", "x/001"), item("a.py::test_a[2]", "x/001")])
    with pytest.raises(pytest.UsageError, match="x/001"):
        cases.check([item("a.py::test_a", "x/001"), item("a.py::test_b", "x/001")])


def test_a_test_without_an_id_is_refused() -> None:
    cases.check([item("acceptance/tests/suite/test_case.py::test_a")])
    with pytest.raises(pytest.UsageError, match="no @case"):
        cases.check([item("acceptance/fleet/test_register.py::test_a")])


@pytest.mark.parametrize(
    "fixtures,given,disabled",
    [
        (("api", "db"), {"database"}, False),
        (("api", "db"), {"logs"}, True),
        (("api", "unchanged"), set(), True),
        (("fresh_backend",), {"database", "logs", "fcm", "process"}, True),
        (("api", "tokens"), set(), False),
    ],
)
def test_a_case_is_disabled_when_something_is_missing(
    fixtures: tuple[str, ...], given: set[str], disabled: bool
) -> None:
    one = item("a.py::test_a", "x/001", fixtures)
    cases.disable([one], frozenset(given))
    assert bool(one.marks) is disabled
