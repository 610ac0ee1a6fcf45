"""Schemathesis' extension points, wired to contracts/fuzz/test_data.py. It changes no check.

Loaded by Schemathesis (SCHEMATHESIS_HOOKS=contracts.hooks) in a process whose environment describes the target.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import AuthContext, Case, HookContext, SerializationContext
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import UseAfterFree

from contracts.fuzz.cases import Sent
from contracts.fuzz.test_data import Supplies
from harness.settings import Target

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


@schemathesis.serializer("application/octet-stream")
def package_archive(context: SerializationContext, value: Any) -> bytes:
    return SUPPLIES.archive(context.case, value)


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Reading a retired device is no use after free: DELETE retires, the record stays, and it must say so."""
    retired = operation_id(case) == "getDevice" and response.json().get("status") == "retired"
    return not (isinstance(failure, UseAfterFree) and retired)
