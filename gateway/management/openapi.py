"""The OpenAPI 3.1 document, made of the table."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.management.operation import Operation
from gateway.management.problems import Code

_SCHEMAS: Final = "#/components/schemas/"
_TEMPLATE: Final = _SCHEMAS + "{model}"
_REFUSED: Final = {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}
_PROBLEM: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "type": "object",
    "properties": {
        "title": {"type": "string", "description": "Of the status."},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": [code.value for code in Code], "description": "What a program goes by."},
        "detail": {"type": "string", "description": "One line on what to do."},
    },
    "required": ["title", "status", "code"],
}


def document(operations: Sequence[Operation[Any, Any]]) -> dict[str, Any]:
    """The document for a table of operations."""
    _, answers = models_json_schema(
        [(each, "serialization") for each in dict.fromkeys(operation.answer for operation in operations)],
        ref_template=_TEMPLATE,
    )
    schemas: dict[str, Any] = {**answers["$defs"], "Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DTLS gateway: management",
            "version": __version__,
            "description": "Tenants, devices, credentials and trust anchors of a gateway. Each request is one "
            "transaction, and is written down in the audit trail under the name of its token.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What `gateway token create` printed.",
                }
            },
        },
    }


def _described(operation: Operation[Any, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    given = operation.given.model_json_schema(ref_template=_TEMPLATE)
    schemas.update(given.pop("$defs", {}))
    fields: dict[str, Any] = given.get("properties", {})
    required = given.get("required", [])
    in_path = {name: fields.pop(name) for name in operation.path_fields}
    parameters = [_parameter(name, schema, "path", required=True) for name, schema in in_path.items()]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.name.partition(".")[0]],
        "responses": {
            str(operation.status): {
                "description": "Done.",
                "content": {"application/json": {"schema": {"$ref": _SCHEMAS + operation.answer.__name__}}},
            },
            "default": {"description": "Refused.", "content": _REFUSED},
        },
    }
    if operation.description:
        described["description"] = operation.description
    if operation.has_body:
        body = {key: value for key, value in given.items() if key not in ("required", "title", "description")}
        if needed := [name for name in required if name not in in_path]:
            body["required"] = needed
        described["requestBody"] = {"required": bool(needed), "content": {"application/json": {"schema": body}}}
    else:
        parameters += [_parameter(name, schema, "query", required=name in required) for name, schema in fields.items()]
    if parameters:
        described["parameters"] = parameters
    return described


def _parameter(name: str, schema: dict[str, Any], place: str, *, required: bool) -> dict[str, Any]:
    schema = {key: value for key, value in schema.items() if key != "title"}
    parameter: dict[str, Any] = {"name": name, "in": place, "required": required}
    if description := schema.pop("description", None):
        parameter["description"] = description
    # What is left out of a query is null; and a path has no default.
    kinds = [each for each in schema.pop("anyOf", []) if each != {"type": "null"}]
    if len(kinds) == 1:
        schema.update(kinds[0])
    if schema.get("default") is None or place == "path":
        schema.pop("default", None)
    return {**parameter, "schema": schema}
