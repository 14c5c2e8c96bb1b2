"""The OpenAPI document: FastAPI's, plus the schema that every problem response refers to, and how to say who asks."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.asking import CSRF_HEADER
from api.schemas import Problem
from api.sessions import COOKIE

_WAYS = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"A person's, from `POST /api/v1/session`; over TLS its name is `__Host-{COOKIE}`. Every "
        f"request that changes something also needs the session's token in the header `{CSRF_HEADER}`.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A program's API token (`wat_…`), or a device's own token for `/api/v1/device`.",
    },
}


def describe_problems(app: FastAPI) -> None:
    """Put `Problem` among the components: no route returns it as a model, so FastAPI would leave it out."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        document["components"]["securitySchemes"] = _WAYS
        for operation in (one for path in document["paths"].values() for one in path.values()):
            if "401" in operation["responses"]:
                operation.setdefault("security", [{way: []} for way in _WAYS])
        _put_nulls_back(app, document["paths"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _put_nulls_back(app: FastAPI, paths: dict[str, Any]) -> None:
    """Give every answer its example as it was written: FastAPI leaves out the members that are null."""
    for route in iter_route_contexts(app.routes):
        operations = paths.get(route.path_format or "", {})
        for operation in (operations.get(method.lower()) for method in route.methods or ()):
            if operation is None:
                continue
            for status, answer in route.responses.items():
                for media_type, content in answer.get("content", {}).items():
                    if "example" in content:
                        operation["responses"][str(status)]["content"][media_type]["example"] = content["example"]
