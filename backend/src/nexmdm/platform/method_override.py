"""Routes for clients that can send no PATCH and no DELETE: a POST names its method in X-HTTP-Method-Override."""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope


class Overridable(APIRoute):
    """Takes such a POST as the method that it names, also in logs and metrics; any other POST is a 405."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope.get("method") == "POST" and "POST" not in (self.methods or ()):
            method = Headers(scope=scope).get("x-http-method-override")
            match, child = super().matches({**scope, "method": method})
            if match is Match.FULL:
                return match, {**child, "method": method}
        return super().matches(scope)
