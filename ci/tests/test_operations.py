"""The guide for operators: what it names is there. Whether it is right is what the named cases prove."""

from __future__ import annotations

import re

import pytest
import yaml

from ci import cases
from ci.environments import BACKEND, ROOT
from harness.oracles import log_schemas

GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def alerts() -> set[str]:
    documents = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (BACKEND / "ops").glob("*.yaml"))
    return {rule["alert"] for document in documents for group in document["groups"] for rule in group["rules"]}


def there(kind: str) -> set[str]:
    schemas = {*log_schemas.documents()}
    return {"cases": set(cases.ids(cases.page())), "alerts": alerts(), "events": schemas}[kind]


@pytest.mark.parametrize(
    "kind, pattern, least",
    [
        ("cases", r"`([a-z]+(?:-[a-z]+)*/[0-9]{3})`", 15),
        ("alerts", r"\b(Nexmdm[A-Z][A-Za-z]+)\b", 5),
        ("events", r"`((?:dependency|dispatch|service|connection|sec|retention|internal)\.[a-z_.]+)`", 10),
    ],
)
def test_what_the_guide_names_is_there(kind: str, pattern: str, least: int) -> None:
    named = set(re.findall(pattern, GUIDE))
    assert len(named) >= least
    assert named - there(kind) == set()


def test_every_case_that_the_page_of_field_faults_names_is_there() -> None:
    page = (ROOT / "docs" / "field-faults.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b([a-z]+(?:-[a-z]+)*/[0-9]{3})\b", page))
    assert len(named) >= 40
    assert {case for case in named if not case.startswith("raw/")} - there("cases") == set()


def test_every_setting_that_it_names_is_in_the_table_of_settings() -> None:
    table = (BACKEND / "README.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`(NEXMDM_[A-Z_]+)`", table))
    assert set(re.findall(r"NEXMDM_[A-Z_]+[A-Z]", GUIDE)) - known == set()
