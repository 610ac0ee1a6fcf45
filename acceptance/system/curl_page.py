"""Pages of docs/ that are tests: the requests of their console blocks, sent as they stand there."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from string import Template
from typing import Any

from acceptance.system.api import Api
from harness.http.client import Answer

_WITH_VALUE = {"-X", "-H", "-d"}


@dataclass(frozen=True)
class Step:
    """A request of the page, and what stands below it."""

    line: str
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def steps(page: str) -> list[Step]:
    """The requests of the console blocks of a page, in order."""
    blocks = [part.partition("```")[0] for part in page.split("```console\n")[1:]]
    found = []
    for request in [part for block in blocks for part in block.split("$ curl ")[1:]]:
        line, status, *headers, body = request.strip().splitlines()
        named = dict(header.split(": ", 1) for header in headers)
        found.append(Step(line, int(status.removeprefix("HTTP/1.1 ")), named, json.loads(body)))
    return found


def send(api: Api, step: Step, **variables: str) -> Answer:
    """The request of a curl line, with these variables in the place of the shell's. Status and headers are right."""
    words = shlex.split(Template(step.line).substitute(NEXMDM_BASE_URL="", **variables))
    given = [(name, words[place + 1]) for place, name in enumerate(words) if name in _WITH_VALUE]
    methods = [value for name, value in given if name == "-X"]
    [path] = [word for word in words if word.startswith("/")]
    headers = [tuple(value.split(": ", 1)) for name, value in given if name == "-H"]
    bodies = [value.encode() for name, value in given if name == "-d"]
    body = {"content": bodies[0]} if bodies else {}
    answer = api.request(methods[0] if methods else "GET", path, headers=headers, **body)
    assert answer.status == step.status, (step.line, answer.body)
    assert {name: answer.headers.get(name.lower()) for name in step.headers} == step.headers
    return answer
