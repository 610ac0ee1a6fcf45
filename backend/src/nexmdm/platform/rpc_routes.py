"""The routes of the JSON-RPC methods: one for each, one for calls and batches, one for every other name."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from nexmdm.http.problems import PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from nexmdm.kernel.problems import answers
from nexmdm.platform import files, trees
from nexmdm.platform.auth import DESCRIBED, OF_A_KEY, ZONE_HEADERS, Caller, InZone
from nexmdm.platform.problems import BRICK_UNMOUNTED, ZONE_TERMINATING
from nexmdm.platform.rpc import Method, Methods

router = APIRouter(tags=["rpc"], dependencies=[DESCRIBED])

METHODS: Final = Methods((*files.METHODS, *trees.METHODS))
_REFUSALS: Final = (*OF_A_KEY, ZONE_TERMINATING, BRICK_UNMOUNTED, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE)
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A result or an error", "content": {"application/json": {}}},
    204: {"description": "A notification has no answer"},
    **answers(*_REFUSALS),
}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"parameters": ZONE_HEADERS, "requestBody": body}


def _endpoint(method: Method) -> Callable[..., Awaitable[Response]]:
    async def endpoint(request: Request, caller: Annotated[Caller, Depends(InZone(brick=method.brick))]) -> Response:
        return await METHODS.answer_one(request, caller, method.name)

    endpoint.__doc__ = method.handle.__doc__
    return endpoint


for _method in METHODS.all:
    _call = {
        "type": "object",
        "required": ["jsonrpc", "params"],
        "properties": {"params": _method.shape.model_json_schema()},
    }
    router.add_api_route(
        f"/api/nfs/{_method.name}",
        _endpoint(_method),
        methods=["POST"],
        operation_id=_method.operation_id,
        response_class=Response,
        responses=_ANSWER,
        openapi_extra=_body(_call),
    )


@router.post(
    "/api/nfs",
    operation_id="callBatch",
    response_class=Response,
    responses=_ANSWER,
    openapi_extra=_body({}),
)
async def call_any(request: Request, caller: Annotated[Caller, Depends(InZone(brick=files.BRICK))]) -> Response:
    """Make a call, or up to 100 in order."""
    return await METHODS.answer_any(request, caller)


@router.post("/api/nfs/{name}", include_in_schema=False)
async def call_by_another_name(
    request: Request, caller: Annotated[Caller, Depends(InZone(brick=files.BRICK))], name: str
) -> Response:
    """A method by its alias, or the error of one that is unknown."""
    return await METHODS.answer_one(request, caller, name)
