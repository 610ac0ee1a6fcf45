"""Schemathesis' extension points, wired to contracts/fuzz/test_data.py. It changes no check.

Loaded by Schemathesis (SCHEMATHESIS_HOOKS=contracts.hooks) in a process whose environment describes the target.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import schemathesis
from schemathesis import AuthContext, Case, CheckContext, DeserializationContext, HookContext, SerializationContext
from schemathesis.core.deserialization import deserialize_yaml
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.media_types import YAML_MEDIA_TYPES
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import UseAfterFree

from contracts.fuzz.cases import Sent
from contracts.fuzz.test_data import Supplies
from harness.http.answers import RESULT, outcomes, undocumented_errors
from harness.http.openapi import Document
from harness.settings import Target

DOCUMENT = Document.read()
OPERATIONS = {operation.id: operation for operation in DOCUMENT.operations()}
SUPPLIES = Supplies(Target.from_env())


def operation_id(case: Sent) -> str:
    return str(case.operation.definition.raw["operationId"])


# A credential per case and not one for the run: which one is right depends on the operation.
@schemathesis.auth(refresh_interval=None)
class Credentials:
    """Gives each operation the credential that its security asks for."""

    def get(self, case: Sent, _context: AuthContext) -> tuple[str, str] | None:
        return SUPPLIES.credential(operation_id(case), case)

    def set(self, case: Sent, data: tuple[str, str], _context: AuthContext) -> None:
        case.headers[data[0]] = data[1]


@schemathesis.hook
def before_call(_context: HookContext, case: Sent, _kwargs: dict[str, Any]) -> None:
    SUPPLIES.prepare(operation_id(case), case)


@schemathesis.hook
def after_call(_context: HookContext, case: Sent, response: Response) -> None:
    SUPPLIES.learn(operation_id(case), case, response)


@schemathesis.serializer("application/octet-stream", "application/offset+octet-stream")
def package_archive(context: SerializationContext, value: Any) -> bytes:
    return SUPPLIES.archive(context.case, value)


@cache
def _document(content: bytes) -> Any:
    return deserialize_yaml(content)


@schemathesis.deserializer(*YAML_MEDIA_TYPES)
def the_same_each_time(_context: DeserializationContext, response: Response) -> Any:
    """The contract as it is served, of which a hundred answers are the same 450 KB."""
    return _document(response.content)


@schemathesis.check
def rpc_error_conformance(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """A call of JSON-RPC has no error but those of its operation's x-rpc-errors."""
    operation = OPERATIONS[operation_id(case)]
    foreign = undocumented_errors(DOCUMENT, operation, response.status_code, response.content)
    assert not foreign, f"Undocumented error of a call: {', '.join(foreign)}"


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """What Schemathesis cannot know: what stays to be looked at after its DELETE, and how a call is refused.

    A device is retired, a zone ends, and says so. A call of JSON-RPC is refused with 200 and an error; one without an
    id is not answered at all.
    """
    name = operation_id(case)
    if isinstance(failure, UseAfterFree):
        ended = {"getDevice": "retired", "getZone": "Terminating"}
        return not (name in ended and response.json().get("status") == ended[name])
    if isinstance(failure, AcceptedNegativeData) and OPERATIONS[name].rpc_errors:
        return outcomes(OPERATIONS[name], response.status_code, response.content) == [RESULT]
    return True
