"""An OpenAPI document as one HTML page. The page has no script, loads nothing, and works in the light and in the dark.

It knows OpenAPI and nothing of NexMDM: whatever the document says is what the page shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt

from nexmdm.operations.openapi.schemas import Json, Resolver, Row, alternatives, limits_of, rows, type_of

_STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_METHODS: Final = ("get", "head", "options", "post", "put", "patch", "delete")
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")


def render(document: Json) -> str:
    """The whole page."""
    resolve = Resolver(document)
    info = document["info"]
    headings, introduction = _introduction(info.get("description", ""))
    groups = [(tag, list(_operations(document, tag["name"]))) for tag in document.get("tags", [])]
    title = f"{info['title']} {info['version']}"
    sections = "".join(_group(tag, operations, document, resolve) for tag, operations in groups)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<a class="skip" href="#content">Skip to the content</a>{_contents(headings, groups)}'
        f'<main id="content"><header><h1>{escape(title)}</h1><p class="lead">{escape(info.get("summary", ""))}</p>'
        '<p>The same as <a href="openapi.yaml">YAML</a> and <a href="openapi.json">JSON</a>.</p></header>'
        f"{introduction}{sections}</main></body></html>\n"
    )


def _introduction(text: str) -> tuple[list[tuple[str, str]], str]:
    """The headings (anchor, words) and the HTML of the document's own description."""
    tokens = _MARKDOWN.parse(text)
    headings = []
    for opening, words in pairwise(tokens):
        if opening.type == "heading_open":
            anchor = "about-" + re.sub(r"[^a-z0-9]+", "-", words.content.lower()).strip("-")
            opening.attrSet("id", anchor)
            headings.append((anchor, words.content))
    return headings, f'<section class="about">{_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})}</section>'


def _operations(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if tag in item.get(method, {}).get("tags", []):
                yield method, path, item[method]


def _contents(headings: list[tuple[str, str]], groups: list[tuple[Json, list[tuple[str, str, Json]]]]) -> str:
    about = "".join(f'<li><a href="#{anchor}">{escape(words)}</a></li>' for anchor, words in headings)
    parts = [f'<li><a href="#content">About</a><ul>{about}</ul></li>']
    for tag, operations in groups:
        entries = "".join(
            f'<li><a href="#{operation["operationId"]}">{_badge(method)} {escape(operation["summary"])}</a></li>'
            for method, _, operation in operations
        )
        parts.append(f'<li><a href="#tag-{escape(tag["name"])}">{escape(tag["name"])}</a><ul>{entries}</ul></li>')
    entries = "".join(parts)
    return f'<nav aria-label="Contents"><details open><summary>Contents</summary><ul>{entries}</ul></details></nav>'


def _badge(method: str) -> str:
    return f'<span class="method {method}">{method.upper()}</span>'


def _group(tag: Json, operations: Iterable[tuple[str, str, Json]], document: Json, resolve: Resolver) -> str:
    shown = "".join(_operation(method, path, operation, document, resolve) for method, path, operation in operations)
    name = escape(tag["name"])
    return f'<section><h2 id="tag-{name}">{name}</h2>{_markdown(tag.get("description", ""))}{shown}</section>'


def _operation(method: str, path: str, operation: Json, document: Json, resolve: Resolver) -> str:
    name = escape(operation["operationId"])
    return (
        f'<article id="{name}"><h3><a href="#{name}">{escape(operation["summary"])}</a></h3>'
        f'<p class="call">{_badge(method)} <code>{escape(path)}</code> <span class="id">{name}</span></p>'
        f"{_markdown(operation.get('description', ''))}"
        f"<h4>Credential</h4>{_credential(operation, document)}"
        f"{_parameters(operation.get('parameters', []), resolve)}"
        f"{_body(resolve(operation['requestBody']), resolve) if 'requestBody' in operation else ''}"
        f"{_answers(operation['responses'], resolve)}{_rpc_errors(operation.get('x-rpc-errors', []))}</article>"
    )


def _credential(operation: Json, document: Json) -> str:
    security: list[Json] = (operation if "security" in operation else document).get("security", [])
    if not security:
        return "<p>None.</p>"
    schemes = document["components"]["securitySchemes"]
    ways = [" and ".join(_scheme(schemes[name]) for name in alternative) for alternative in security]
    return f"<ul>{''.join(f'<li>{way}</li>' for way in ways)}</ul>"


def _scheme(scheme: Json) -> str:
    header = f"{scheme['name']}: …" if scheme["type"] == "apiKey" else f"Authorization: {scheme['scheme'].title()} …"
    return f"<code>{escape(header)}</code> {_inline(scheme.get('description', ''))}"


def _parameters(parameters: list[Json], resolve: Resolver) -> str:
    if not parameters:
        return ""
    shown = []
    for parameter in map(resolve, parameters):
        schema = resolve(parameter["schema"])
        name = f"{parameter['name']} ({parameter['in']})"
        words = parameter.get("description", "")
        shown.append(Row(name, type_of(schema, resolve), bool(parameter.get("required")), limits_of(schema), words))
    return f"<h4>Parameters</h4>{_table(shown)}"


def _body(body: Json, resolve: Resolver) -> str:
    parts = ["<h4>Body</h4>"]
    for media_type, content in body["content"].items():
        parts.append(f"<p><code>{escape(media_type)}</code></p>{_shape(content['schema'], resolve)}")
        parts.append(_examples(content.get("examples", {}), resolve))
    return "".join(parts)


def _answers(responses: Json, resolve: Resolver) -> str:
    good, refused = [], []
    for status, response in ((status, resolve(response)) for status, response in responses.items()):
        words = f"<strong>{escape(status)}</strong> {_inline(response.get('description', ''))}"
        problem = response.get("content", {}).get("application/problem+json")
        if problem is not None:
            code = resolve(resolve(problem["schema"])["properties"]["code"])
            codes = [code["const"]] if "const" in code else code.get("enum", [])
            refused.append(f"<li>{words} {' '.join(f'<code>{escape(item)}</code>' for item in codes)}</li>")
            continue
        good.append(f"<div class='answer'><p>{words}</p>{_answer_headers(response, resolve)}")
        for media_type, content in response.get("content", {}).items():
            good.append(f"<p><code>{escape(media_type)}</code></p>{_shape(content['schema'], resolve)}")
            good.append(_examples(content.get("examples", {}), resolve))
        good.append("</div>")
    refusals = f"<h4>Refusals</h4><ul>{''.join(refused)}</ul>" if refused else ""
    return f"<h4>Answers</h4>{''.join(good)}{refusals}"


def _rpc_errors(errors: list[Json]) -> str:
    if not errors:
        return ""
    shown = "".join(
        f"<li><code>{error['code']}</code> <code>{escape(error['data_code'])}</code></li>" for error in errors
    )
    return f"<h4>Errors with 200</h4><ul>{shown}</ul>"


def _answer_headers(response: Json, resolve: Resolver) -> str:
    headers = {name: resolve(header) for name, header in response.get("headers", {}).items()}
    if not headers:
        return ""
    shown = "".join(
        f"<li><code>{escape(name)}</code> {_inline(header.get('description', ''))}</li>"
        for name, header in headers.items()
    )
    return f"<details><summary>Headers</summary><ul>{shown}</ul></details>"


def _shape(schema: Json, resolve: Resolver) -> str:
    shapes = []
    for label, shape in alternatives(schema, resolve):
        members = list(rows(shape, resolve))
        caption = f"<p><em>{escape(label)}</em></p>" if label else ""
        plain = f"<p>{escape(' · '.join((type_of(shape, resolve), *limits_of(shape))))}</p>"
        shapes.append(caption + (_table(members) if members else plain))
    return _inline_block(resolve(schema).get("description", "")) + "".join(shapes)


def _table(members: Iterable[Row]) -> str:
    lines = []
    for row in members:
        need = '<span class="required">required</span>' if row.required else "optional"
        limits = "<br>".join(f"<code>{escape(limit)}</code>" for limit in row.limits)
        name = escape(row.name).replace("_", "_<wbr>").replace(".", ".<wbr>")
        lines.append(
            f'<tr><th scope="row"><code>{name}</code><br>{need}</th>'
            f"<td>{escape(row.type)}{'<br>' if limits else ''}{limits}</td><td>{_inline(row.description)}</td></tr>"
        )
    return f'<div class="scroll"><table class="members"><tbody>{"".join(lines)}</tbody></table></div>'


def _examples(examples: Json, resolve: Resolver) -> str:
    shown = []
    for name, example in ((name, resolve(example)) for name, example in examples.items()):
        value: Any = example.get("value")
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        printable = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
        label = escape(example.get("summary", name))
        shown.append(f"<details><summary>Example: {label}</summary><pre>{escape(printable)}</pre></details>")
    return "".join(shown)


def _markdown(text: str) -> str:
    html: str = _MARKDOWN.render(text)
    return html


def _inline(text: str) -> str:
    html: str = _MARKDOWN.renderInline(text.strip())
    return html


def _inline_block(text: str) -> str:
    return f"<p>{_inline(text)}</p>" if text else ""
