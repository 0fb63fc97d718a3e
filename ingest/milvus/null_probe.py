"""Finds out how a server keeps a missing number: by a tiny collection, made and dropped once for each of its versions.

The answer stands in the property `ingest.missing` of the collection that a run fills, beside the version of the server
that gave it. Commands that only read go by that, and by which collections there are.
"""

from __future__ import annotations

import json
import logging
import math
import re
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ingest.core import contract as contracts
from ingest.core import missing_numbers
from ingest.core.contract import Contract, HnswIndex
from ingest.core.errors import MilvusError
from ingest.core.field import Field
from ingest.core.missing_numbers import Keeps
from ingest.core.records import Embedded, Product
from ingest.milvus import protobuf, schema
from ingest.milvus.alias import alias_target
from ingest.milvus.collection import Collection
from ingest.milvus.connection import CALL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.core.contract import Space
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

PROPERTY = "ingest.missing"
_REFUSED = "is not a number"  # "value 'NaN' is not a number or infinity", as Milvus has said since 2.4.2
_LONGEST_ALIAS = 200
_ABANDONED_S = 600.0
"""A probe takes a second or so: one that is older was left behind by a run that was killed."""
_NUMBER, _DIM = "number", 2
_TRIED = Contract(
    version=1, alias="probe", keeps_others=False, id_max_length=8,
    index=HnswIndex("embedding", "IP", "HNSW", 16, 64, 16),
    fields=(Field(_NUMBER, "DOUBLE", _NUMBER, 0, math.nan),),
)  # fmt: skip


class Memory(NamedTuple):
    """What a run found out: the server's version, and how it keeps a missing number."""

    version: str
    keeps: Keeps


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A contract as this server's collection has it.

    `refused` names the fields whose missing numbers the server takes in no way. `properties` are to be set on the
    collection, so that the next run need not ask again; `open` says in words what a run would still find out.
    """

    contract: Contract
    version: str = ""
    refused: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    open: str = ""


def settle(connection: Connection, contract: Contract, space: Space) -> ProbeResult:
    """Return the contract as the server's collection is to have it; asks the server, and writes to it, if need be.

    Raises MilvusError where the server lets nothing be made and no run has found it out before.
    """
    if connection.is_lite or not missing_numbers.is_possible(contract):  # Milvus Lite takes NaN
        return ProbeResult(contract)
    memory, there, names = _look(connection, contract, space)
    _sweep(connection, contract.alias, names)
    version = _version(connection)
    if memory is None or memory.version != version:
        before = memory.keeps if memory else there
        Collection(connection, contract, space).check_alias()  # before anything is made
        try:
            memory = Memory(version, _probe(connection, contract.alias))
        except MilvusError as error:
            if before is None:
                raise
            log.warning("%s; missing numbers are written as %s, as before", error, _WORDS[before])
            return _found(contract, Memory(version, before))
        if before not in (None, memory.keeps):
            log.warning("Milvus at %s is %s now: missing numbers %s", connection.shown, version, _WILL[memory.keeps])
    found = _found(contract, memory)
    return replace(found, properties={PROPERTY: json.dumps(memory._asdict())})


def recall(connection: Connection, contract: Contract, space: Space) -> ProbeResult:
    """Return the contract as the server's collection has it, by what is there; nothing is written to the server."""
    if connection.is_lite or not missing_numbers.is_possible(contract):
        return ProbeResult(contract)
    memory, there, _ = _look(connection, contract, space)
    version = _version(connection)
    if memory is not None and memory.version == version:
        return _found(contract, memory)
    keeps = memory.keeps if memory else there or Keeps.NAN
    found = _found(contract, Memory(version, keeps))
    name = contracts.collection_name(found.contract, space)
    asked = f"find out how Milvus {version} keeps missing numbers"
    if memory is None and there is None:
        return replace(found, open=f"{asked}, which may give the collection another name than {name}")
    other = f"fill a collection beside {name} with the stored vectors and move the alias"
    return replace(found, open=f"{asked}, and if not as {_WORDS[keeps]}, {other}")


_WORDS = {Keeps.NAN: "NaN", Keeps.NULL: "null", Keeps.NEITHER: "numbers that stand for them"}
_WILL = {
    Keeps.NAN: "are kept as NaN",
    Keeps.NULL: "are kept as null, in a new collection",
    Keeps.NEITHER: "can be kept as neither NaN nor null",
}


def _found(contract: Contract, memory: Memory) -> ProbeResult:
    kept = missing_numbers.on_server(contract, memory.keeps)
    lacking = (field.name for field in contract.fields if field.may_be_missing and field.name not in kept.missing)
    return ProbeResult(kept, memory.version, tuple(lacking) if memory.keeps is Keeps.NEITHER else ())


def _look(
    connection: Connection, contract: Contract, space: Space
) -> tuple[Memory | None, Keeps | None, Sequence[str]]:
    """Return what a run remembered, how a collection that is there keeps missing numbers, and all collections' names.

    The first two are None where there is no such run, no such collection.
    """
    client = connection.client
    order = (Keeps.NEITHER, Keeps.NAN, Keeps.NULL)  # without a number that stands for it, NEITHER is named as NAN
    keeping = {contracts.collection_name(missing_numbers.on_server(contract, keeps), space): keeps for keeps in order}
    served = alias_target(connection, contract.alias)
    names: Sequence[str] = connection.call("list the collections", client.list_collections)
    there = [name for name in dict.fromkeys([served, *keeping]) if name in names]
    found = next((keeping[name] for name in there if name in keeping), None)
    for name in there:
        properties = connection.call("describe the collection", client.describe_collection, name).get("properties", {})
        if (memory := _read(properties.get(PROPERTY, ""))) is not None:
            return memory, found, names
    return None, found, names


def _read(text: str) -> Memory | None:
    try:
        content = json.loads(text)
        return Memory(str(content["version"]), Keeps(content["keeps"]))
    except (ValueError, TypeError, KeyError):
        return None


def _version(connection: Connection) -> str:
    return str(connection.call("ask its version", connection.client.get_server_version))


def _probe(connection: Connection, alias: str) -> Keeps:
    """Make a collection with a nullable field: see whether it is one, and else whether a row with NaN is taken."""
    client, doing = connection.client, "find out how missing numbers are kept"
    name = f"{alias[:_LONGEST_ALIAS]}_probe_{int(time.time()):08x}{secrets.token_hex(4)}"
    nullable = schema.schema(missing_numbers.on_server(_TRIED, Keeps.NULL), _DIM)
    row = Embedded(Product("probe", "", {_NUMBER: math.nan}, 1), bytes(32), np.array([1, 0], np.float32))
    try:
        connection.call(doing, client.create_collection, name, schema=nullable, timeout=CALL_TIMEOUT_S)
        fields = connection.call(doing, client.describe_collection, name)["fields"]
        if any(field["name"] == _NUMBER and field.get("nullable") for field in fields):
            return Keeps.NULL
        connection.call(doing, connection.upsert, protobuf.request(name, [row], ["0" * 32], _TRIED))
    except MilvusError as error:
        if _REFUSED not in str(error):
            raise
        return Keeps.NEITHER
    else:
        return Keeps.NAN
    finally:
        _drop(connection, name)


def _sweep(connection: Connection, alias: str, names: Sequence[str]) -> None:
    """Drop the probes among these collections that killed runs left behind."""
    probe = re.compile(re.escape(alias[:_LONGEST_ALIAS]) + "_probe_([0-9a-f]{8})[0-9a-f]{8}")
    for name in names:
        if (match := probe.fullmatch(name)) and time.time() - int(match[1], 16) > _ABANDONED_S:
            _drop(connection, name)


def _drop(connection: Connection, name: str) -> None:
    try:
        connection.call(f"drop {name}", connection.client.drop_collection, name, timeout=CALL_TIMEOUT_S)
    except MilvusError as error:
        log.warning("%s; it was made to try something out, and nobody needs it", error)
