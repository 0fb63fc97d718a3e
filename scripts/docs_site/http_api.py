"""The operations of `ingest serve`, from its OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI

from ingest.server.access import AccessRules
from ingest.server.openapi import document
from ingest.server.routes import add_routes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.server.service import Service

Json = dict[str, Any]


def operations() -> str:
    """Return a section for each operation and a table for each type of an answer, in Markdown."""
    described = openapi()
    sections = [
        "\n".join(_operation(f"{method.upper()} {path}", operation))
        for path, methods in sorted(described["paths"].items(), key=lambda item: not item[0].startswith("/v1/"))
        for method, operation in methods.items()
    ]
    types = ["\n".join(_type(name, schema)) for name, schema in described["components"]["schemas"].items()]
    return "\n\n".join(["## Requests", *sections, "## Failures", _failures(described), "## Types", *types])


def openapi() -> Json:
    """Return the document of a service with a token."""
    app = FastAPI(
        title="ingest", separate_input_output_schemas=False, generate_unique_id_function=lambda route: route.name
    )
    nobody = cast("Service", None)  # the document says what would be asked, and nobody asks
    add_routes(app, nobody, AccessRules("token", frozenset(), frozenset(), max_image_bytes=1))
    return document(app)


def _operation(title: str, operation: Json) -> Iterator[str]:
    yield f"### {title}\n\n{_line(operation['description'])}\n"
    if "security" in operation:
        yield "Needs the token, if the service has one.\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | meaning |\n| --- | --- | --- | --- |"
        for one in parameters:
            needed = ", required" if one.get("required") else ""
            yield f"| `{one['name']}` | {one['in']}{needed} | {_kind(one['schema'])} | {_meaning(one, one['schema'])} |"
        yield ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body `{kind}`: {_kind(content['schema'])}.\n"
    for code, answer in operation["responses"].items():
        content = answer.get("content", {})
        if code == "200":
            what = ", ".join(_kind(one["schema"]) if "json" in kind else f"`{kind}`" for kind, one in content.items())
            yield f"Answers {code}, {what}: {_line(answer['description'])}\n"
    failures = {code: answer for code, answer in operation["responses"].items() if code != "200"}
    yield f"Fails with {', '.join(sorted(failures))}."


def _failures(described: Json) -> str:
    """Return a table of how requests fail: each code means the same for all of them."""
    answers = [operation["responses"] for methods in described["paths"].values() for operation in methods.values()]
    said = {code: _line(one["description"]) for found in answers for code, one in found.items() if code != "200"}
    rows = [f"| {code} | {meaning} |" for code, meaning in sorted(said.items())]
    return "\n".join(["| code | meaning |", "| --- | --- |", *rows])


def _type(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}\n\n{_line(schema.get('description', ''))}\n"
    yield "| field | type | meaning |\n| --- | --- | --- |"
    for field, one in schema.get("properties", {}).items():
        needed = ", required" if field in schema.get("required", []) else ""
        yield f"| `{field}` | {_kind(one)}{needed} | {_meaning(one, one)} |"


def _kind(schema: Json) -> str:
    """Return a type in a word or a few, with a link if it is described on this page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return "bytes" if schema.get("format") == "binary" or "contentMediaType" in schema else str(kind)


def _meaning(one: Json, schema: Json) -> str:
    said = [_line(one.get("description", ""))]
    for word, name in (("minimum", "at least"), ("maximum", "at most")):
        if schema.get(word):
            said.append(f"{name} {schema[word]:,.10g}")
    if schema.get("default") not in (None, "", {}, []):
        said.append(f"default {schema['default']}")
    return "; ".join(filter(None, said))


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
