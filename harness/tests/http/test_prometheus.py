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
