"""The messages that are packed by hand, as in pymilvus' generated code: a new field in one fails the test.

Recorded again like the requests, with RECORD=1 (`test_golden`).
"""

from __future__ import annotations

import os
from pathlib import Path

from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from ingest.milvus import protobuf

RECORDED = Path(__file__).parent / "golden" / "messages.txt"
PACKED = (
    milvus_pb2.UpsertRequest, schema_pb2.FieldData, schema_pb2.ScalarField, schema_pb2.FloatArray,
    schema_pb2.DoubleArray, schema_pb2.LongArray, schema_pb2.BoolArray, schema_pb2.StringArray, schema_pb2.JSONArray,
    schema_pb2.VectorField, milvus_pb2.GetReplicasRequest,
)  # fmt: skip
_KINDS = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes"}
_KINDS |= {13: "uint32"}


def lines_of(message: type) -> list[str]:
    """Return a message's name and its fields: number, type (* if repeated) and name."""
    lines = [message.DESCRIPTOR.full_name]
    for field in sorted(message.DESCRIPTOR.fields, key=lambda field: field.number):
        kind = (field.message_type or field.enum_type).name if field.type in (11, 14) else _KINDS[field.type]
        lines.append(f"    {field.number} {kind}{'*' if field.is_repeated else ''} {field.name}")
    return lines


def test_messages_packed_by_hand_have_the_fields_that_they_had() -> None:
    lines = [line for message in PACKED for line in lines_of(message)]
    if os.environ.get("RECORD"):
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines == RECORDED.read_text(encoding="utf-8").splitlines()


def test_floats_are_packed_as_protobuf_packs_them() -> None:
    raw = schema_pb2.FloatArray(data=[1.0] * 100).SerializeToString()
    assert raw.startswith(protobuf._FLOATS_TAG + protobuf._varint(400))
