"""The OpenAPI document: OpenAPI 3.1's own rules, and that it lists what there is and nothing else."""

import re
from collections.abc import Iterator
from typing import Any

from gateway.management.openapi import document
from gateway.management.table import OPERATIONS
from tests.management.support import Served

DOCUMENT = document(OPERATIONS)
METHODS = {"get", "put", "post", "patch", "delete"}
# JSON Schema 2020-12, as far as it may come from a model; `nullable` is OpenAPI 3.0's and means nothing any more.
KEYWORDS = {
    *("$ref", "additionalProperties", "anyOf", "const", "default", "description", "enum", "examples"),
    *("exclusiveMaximum", "exclusiveMinimum", "format", "items", "maximum", "maxItems", "maxLength", "maxProperties"),
    *("minimum", "minItems", "minLength", "pattern", "properties", "propertyNames", "required", "title", "type"),
}
TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, described in item.items():
            yield path, method, described


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every schema below a node that is one."""
    yield node
    for name in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(name), dict):
            yield from schemas(node[name])
    for each in [*node.get("anyOf", []), *node.get("properties", {}).values()]:
        yield from schemas(each)


def roots() -> Iterator[dict[str, Any]]:
    yield from DOCUMENT["components"]["schemas"].values()
    for _, _, described in operations():
        for parameter in described.get("parameters", []):
            yield parameter["schema"]
        for answer in [described.get("requestBody", {"content": {}}), *described["responses"].values()]:
            for media in answer["content"].values():
                yield media["schema"]


def test_it_lists_exactly_the_operations() -> None:
    listed = {(path, method.upper(), described["operationId"]) for path, method, described in operations()}
    assert listed == {(each.path, each.method, each.name) for each in OPERATIONS}
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS) == len(listed)
    assert {
        tuple(re.sub(r"{\w+}", "{}", path) for path, _, _ in [each]) + each[1:2] for each in listed
    }.__len__() == len(listed)


def test_the_top_of_the_document() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    assert DOCUMENT.keys() <= {"openapi", "info", "servers", "security", "paths", "components"}
    [requirement] = DOCUMENT["security"]
    assert requirement.keys() <= DOCUMENT["components"]["securitySchemes"].keys()
    scheme = DOCUMENT["components"]["securitySchemes"]["token"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    # Keys of components are names (OpenAPI 3.1, "Components Object").
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in DOCUMENT["components"]["schemas"])


def test_each_operation_follows_the_rules() -> None:
    for path, method, described in operations():
        assert method in METHODS
        assert path.startswith("/")
        assert described["responses"]
        assert all(re.fullmatch(r"[1-5]\d\d|default", status) for status in described["responses"])
        assert all("description" in answer for answer in described["responses"].values())
        parameters = described.get("parameters", [])
        names = [(each["name"], each["in"]) for each in parameters]
        assert len(set(names)) == len(names)
        in_path = {name for name, place in names if place == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), path
        assert all(each["required"] is True for each in parameters if each["in"] == "path")
        assert {each["in"] for each in parameters} <= {"path", "query"}
        assert ("requestBody" in described) == (method in ("post", "put", "patch"))
        assert described["summary"].endswith(".")


def test_each_schema_is_one() -> None:
    seen = 0
    for schema in (each for root in roots() for each in schemas(root)):
        seen += 1
        assert schema.keys() <= KEYWORDS, schema.keys() - KEYWORDS
        assert schema.get("type", "null") in TYPES
        assert set(schema.get("required", [])) <= schema.get("properties", {}).keys()
        if "$ref" in schema:
            kind, _, name = schema["$ref"].rpartition("/")
            assert kind == "#/components/schemas"
            assert name in DOCUMENT["components"]["schemas"]
    assert seen > 200


def test_no_answer_has_a_key_but_the_one_that_was_made() -> None:
    secret = re.compile("psk_hex|secret|private|token|password")
    found = {
        (name, field)
        for answer in (operation.answer.model_json_schema() for operation in OPERATIONS)
        for name, schema in [(answer["title"], answer), *answer.get("$defs", {}).items()]
        for field in schema.get("properties", {})
        if secret.search(field)
    }
    assert found == {("Added", "psk_hex"), ("NewKey", "psk_hex")}


def test_it_is_served(served: Served) -> None:
    answer = served.ask("GET", "/api/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == DOCUMENT
    assert served.ask("GET", "/api/openapi.json", token=None).refused(401, "unauthorized") == ""
    served.ask("POST", "/api/openapi.json", {}).refused(405, "refused")
