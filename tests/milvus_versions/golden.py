"""Requests as lines that can be compared: values that change from run to run are replaced by their kind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from pymilvus.grpc_gen import common_pb2, schema_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milvus_versions.standin.server import Request

_INDENT = "    "
_REPLACED = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00"), "<time>"),
    (re.compile(r'(\\"read\\": \\")\d{4}-\d\d-\d\d'), r"\1<date>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<digest>"),
    (re.compile(r"^(\s*(?:\w*timestamp|travel_timestamp|time_stamp): )\d{6,}$"), r"\1<time>"),
    (re.compile(r"\b461\d{3}\b"), "<id>"),
)
_VOLATILE = {"local_time", "host", "user"}
"""What pymilvus says about the machine in its Connect."""


class Writer:
    """Writes requests as lines; generated names get numbers in order of appearance."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._known: dict[tuple[str, ...], str] = {}

    def lines(self, requests: Iterable[Request]) -> list[str]:
        """Return each request with its databases and its contents; one that was written before, by its number alone.

        One that repeats at once is written once: how often the server is polled depends on its speed.
        """
        written: list[str] = []
        last: tuple[str, ...] = ()
        for request in requests:
            head = f"body={request.in_body or '-'} metadata={request.in_metadata or '-'}"
            block = (request.method, head, *self._contents(request.message))
            if block == last:
                continue
            if (number := self._known.get(block)) is None:
                number = self._known[block] = f"{request.method} [{len(self._known) + 1}]"
                written += [f"{number}  {head}", *(_INDENT + line for line in block[2:])]
            else:
                written.append(f"{number}  again")
            last = block
        return written

    def _contents(self, message: Any) -> list[str]:
        if isinstance(message, dict):
            return [self._settled(str(message))]
        made = type(message)()
        made.CopyFrom(message)
        appended = _opened(made)
        return [self._settled(line) for line in [*_fields(made), *appended]]

    def _settled(self, line: str) -> str:
        for pattern, instead in _REPLACED:
            line = pattern.sub(instead, line)
        return re.sub(r"\bproducts_(probe_)?[0-9a-f]{12,}\b", self._numbered, line)

    def _numbered(self, match: re.Match[str]) -> str:
        kind = match[1] or ""
        alike = [name for name in self._names.values() if ("probe" in name) == bool(kind)]
        return self._names.setdefault(match[0], f"products_{kind}<{len(alike) + 1}>")


def _fields(message: Any) -> list[str]:
    """Return a line for each field of a message, and for each element of one that is repeated."""
    lines = []
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            part = type(message)()
            getattr(part, field.name).append(one) if field.is_repeated else _set(part, field, one)
            lines.append(text_format.MessageToString(part, as_utf8=True, as_one_line=True))
    return lines


def _set(message: Any, field: Any, value: Any) -> None:
    if field.message_type:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _opened(message: Any) -> list[str]:
    """Remove packed and varying parts from a message, and return them as lines."""
    lines = []
    if message.DESCRIPTOR.name == "CreateCollectionRequest":
        schema = schema_pb2.CollectionSchema.FromString(message.schema)
        message.ClearField("schema")
        lines += [f"schema: {line}" for line in _fields(schema)]
    if message.DESCRIPTOR.name == "SearchRequest":
        group = common_pb2.PlaceholderGroup.FromString(message.placeholder_group)
        message.ClearField("placeholder_group")
        for holder in group.placeholders:
            lines.append(
                f"placeholder {holder.tag}: type {holder.type}, {[len(value) for value in holder.values]} bytes"
            )
    if message.DESCRIPTOR.name == "ConnectRequest":
        for key in _VOLATILE & {field.name for field in message.client_info.DESCRIPTOR.fields}:
            message.client_info.ClearField(key)
        for key in message.client_info.reserved:
            message.client_info.reserved[key] = "…"
    for column in getattr(message, "fields_data", ()):
        if column.HasField("vectors"):
            numbers = len(column.vectors.float_vector.data)
            column.vectors.ClearField("float_vector")
            lines.append(f"{column.field_name}: {numbers} float32")
    return lines
