"""The routes of the JSON-RPC methods: one for each, one for calls and batches, one for every other name."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from nexmdm.http.problems import PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from nexmdm.kernel.problems import answers
from nexmdm.platform import agent_methods, files, lists, mounts, trees
from nexmdm.platform.auth import DESCRIBED, OF_A_KEY, ZONE_HEADERS, Caller, InZone
from nexmdm.platform.problems import BRICK_UNMOUNTED, ZONE_TERMINATING
from nexmdm.platform.rpc import MOST_CALLS, MOST_OF_ID, SAFE_NUMBER, Method, Methods

router = APIRouter(tags=["rpc"], dependencies=[DESCRIBED])

METHODS: Final = Methods((*files.METHODS, *lists.METHODS, *trees.METHODS, *agent_methods.METHODS, *mounts.METHODS))
in_zone: Final = InZone()  # which method a call has, and of which brick, stands in the body
_REFUSALS: Final = (*OF_A_KEY, ZONE_TERMINATING, BRICK_UNMOUNTED, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE)
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A result or an error", "content": {"application/json": {}}},
    204: {"description": "A notification has no answer"},
    **answers(*_REFUSALS),
}


# What a call may look like (JSON-RPC 2.0, section 4). The parameters of any method may stand in an array.
_POSITIONAL: Final = {"type": "array", "maxItems": 6, "items": {}}
_NAMED: Final = {
    "type": "object",
    "maxProperties": 6,
    "propertyNames": {"pattern": "^[a-z_]{1,32}$"},
    "additionalProperties": {},
}
_ID: Final = {
    "anyOf": [
        {"type": "string", "maxLength": MOST_OF_ID},
        {"type": "number", "minimum": -SAFE_NUMBER, "maximum": SAFE_NUMBER},
        {"type": "null"},
    ]
}


def _call(method: dict[str, Any], params: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["jsonrpc", *required],
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "method": {"type": "string"} | method,
            "id": _ID,
            "params": {"anyOf": [params, _POSITIONAL]},
        },
    }


def _call_of(method: Method) -> dict[str, Any]:
    params = method.shape.model_json_schema()
    return _call({"const": method.name}, params, ["params"] if "required" in params else [])


def _call_by_name() -> dict[str, Any]:
    call = _call({"enum": [method.name for method in METHODS.all]}, _NAMED, ["method"])
    return {"anyOf": [call, {"type": "array", "minItems": 1, "maxItems": MOST_CALLS, "items": call}]}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"parameters": ZONE_HEADERS, "requestBody": body}


def _endpoint(method: Method) -> Callable[[Request], Awaitable[Response]]:
    in_zone_of_brick = InZone(brick=method.brick)

    async def endpoint(request: Request) -> Response:
        return await METHODS.answer_one(request, await in_zone_of_brick(request), method.name)

    endpoint.__doc__ = method.handle.__doc__
    return endpoint


DIRECT: Final = {f"/api/nfs/{method.name}": _endpoint(method) for method in METHODS.all}
for _method, (_path, _handle) in zip(METHODS.all, DIRECT.items(), strict=True):
    router.add_api_route(
        _path,
        _handle,
        methods=["POST"],
        operation_id=_method.operation_id,
        response_class=Response,
        responses=_ANSWER,
        openapi_extra=_body(_call_of(_method)),
    )


@router.post(
    "/api/nfs",
    operation_id="callBatch",
    response_class=Response,
    responses=_ANSWER,
    openapi_extra=_body(_call_by_name()),
)
async def call_any(request: Request, caller: Annotated[Caller, Depends(in_zone)]) -> Response:
    """Make a call, or up to 100 in order."""
    return await METHODS.answer_any(request, caller)


@router.post("/api/nfs/{name}", include_in_schema=False)
async def call_by_another_name(request: Request, caller: Annotated[Caller, Depends(in_zone)], name: str) -> Response:
    """A method by its alias, or the error of one that is unknown."""
    return await METHODS.answer_one(request, caller, name)
