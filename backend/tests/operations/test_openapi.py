"""The served contract: the file itself, the same as JSON, and a page that is complete, self-contained, well-formed."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.database import settings_for

import nexmdm
from nexmdm.app import create_api
from nexmdm.operations.openapi import contract
from nexmdm.operations.openapi.page import render

SOURCE = Path(nexmdm.__file__).with_name("openapi.yaml")
VOID = {"meta", "br", "wbr", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects what a browser would see, and fails on a tag that is closed in the wrong place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[str]:
        return [value for attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(SOURCE.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return loaded


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(contract().html.decode())


@pytest.fixture
def api() -> httpx.AsyncClient:
    """No lifespan: the contract is served without a database."""
    app = create_api(settings_for("postgresql://127.0.0.1:1/none"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_the_contract_is_served_in_three_forms(api: httpx.AsyncClient, document: dict[str, Any]) -> None:
    as_yaml, as_json, as_page = [await api.get(path) for path in ("/openapi.yaml", "/openapi.json", "/docs")]
    assert as_yaml.content == SOURCE.read_bytes()
    assert as_json.json() == document
    assert [answer.headers["content-type"] for answer in (as_yaml, as_json, as_page)] == [
        "application/yaml",
        "application/json",
        "text/html; charset=utf-8",
    ]
    assert as_page.text.startswith("<!doctype html>")


def test_the_page_shows_every_operation_parameter_status_and_code(document: dict[str, Any], page: Page) -> None:
    ids = page.all("id")
    for path, item in document["paths"].items():
        assert path in page.text
        for operation in item.values():
            assert operation["operationId"] in ids
            assert operation["summary"] in page.text
    for parameter in document["components"]["parameters"].values():
        assert f"{parameter['name']} ({parameter['in']})" in page.text
    for code in re.findall(r"^    \| \d+ \| `([a-z_]+)` \|", SOURCE.read_text(encoding="utf-8"), re.MULTILINE):
        assert code in page.text


def test_the_page_shows_the_errors_of_calls(document: dict[str, Any], page: Page) -> None:
    calls = [one["post"] for one in document["paths"].values() if "x-rpc-errors" in one.get("post", {})]
    assert len(calls) == page.text.count("Errors with 200") > 1
    assert all(f"{error['code']} {error['data_code']}" in page.text for one in calls for error in one["x-rpc-errors"])


def test_the_page_shows_the_members_of_bodies(page: Page) -> None:
    for words in (
        "aliases",
        "1 to 100 items",
        "dispatches[].request_id",
        "action = launch_app",
        "default 2700",
        "params.old_path",
    ):
        assert words in page.text, words


def test_every_link_of_the_page_leads_somewhere_and_no_id_is_used_twice(page: Page) -> None:
    ids = Counter(page.all("id"))
    assert [name for name, times in ids.items() if times > 1] == []
    inner = {href.removeprefix("#") for href in page.all("href") if href.startswith("#")}
    assert inner <= set(ids)
    assert {href for href in page.all("href") if not href.startswith("#")} == {"openapi.yaml", "openapi.json"}


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    assert page.tags["script"] == page.tags["img"] == page.tags["link"] == page.tags["iframe"] == 0
    assert [name for name, _ in page.attributes if name.startswith("on") or name in {"src", "srcset"}] == []
    html = contract().html.decode()
    assert "@import" not in html
    assert "url(" not in html
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_what_the_document_says_is_shown_and_not_run() -> None:
    evil = "<script>alert(1)</script>"
    schema = {"type": "object", "properties": {evil: {"type": "string", "pattern": evil, "description": evil}}}
    operation = {
        "operationId": "evil",
        "tags": ["t"],
        "summary": evil,
        "description": f"{evil}\n\n[x](javascript:alert(1))",
        "parameters": [{"name": evil, "in": "query", "schema": {"type": "string", "default": evil}}],
        "requestBody": {"content": {evil: {"schema": schema, "examples": {evil: {"value": {evil: evil}}}}}},
        "responses": {"200": {"description": evil, "content": {evil: {"schema": schema}}}},
    }
    document = {
        "info": {"title": evil, "version": "1", "summary": evil, "description": f"## {evil}\n\n{evil}"},
        "tags": [{"name": "t", "description": evil}],
        "paths": {f"/{evil}": {"post": operation}},
        "components": {"securitySchemes": {}},
    }
    page = Page(render(document))
    assert page.tags["script"] == 0
    assert page.text.count(evil) > 10
    assert not any("javascript" in href for href in page.all("href"))


def test_a_schema_that_contains_itself_ends() -> None:
    node = {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Node"}}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}
    operation = {"operationId": "o", "tags": ["t"], "summary": "s", "requestBody": body, "responses": {}}
    document = {
        "info": {"title": "T", "version": "1"},
        "tags": [{"name": "t"}],
        "paths": {"/": {"post": operation}},
        "components": {"schemas": {"Node": node}},
    }
    assert "child.child" in Page(render(document)).text.replace("\u200b", "")
