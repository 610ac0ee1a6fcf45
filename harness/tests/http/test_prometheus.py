"""Selectors sum what they name, and nothing else."""

from harness.http.prometheus import parse, total

PAGE = """# TYPE n_total counter
n_total{a="1",b="x"} 2
n_total{a="1",b="y"} 3
n_total{a="2",b="x"} 4
"""


def test_a_selector_sums_what_it_names() -> None:
    samples = parse(PAGE)
    assert total(samples, "n_total") == 9
    assert total(samples, 'n_total{a="1"}') == 5
    assert total(samples, 'n_total{b="x",a="2"}') == 4
    assert total(samples, 'n_total{a="3"}') == total(samples, "other_total") == 0


def test_some_names_alone_are_parsed() -> None:
    page = f"{PAGE}n 1\nn_total_too 2\nother 3\n"
    assert parse(page, {"n_total"}) == parse(PAGE)
    assert parse(page, {"n", "other"}) == {("n", frozenset()): 1.0, ("other", frozenset()): 3.0}
