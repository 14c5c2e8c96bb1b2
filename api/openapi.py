"""The OpenAPI document: FastAPI's, plus the schema that every problem response refers to."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from api.schemas import Problem


def describe_problems(app: FastAPI) -> None:
    """Put `Problem` among the components: no route returns it as a model, so FastAPI would leave it out."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        return document

    app.openapi = openapi  # type: ignore[method-assign]
