"""Finds out how a server keeps a missing number, with a tiny collection, created and dropped once per server version.

A run records the answer, with the server's version, in the property `ingest.missing` of the collection that it fills.
Commands that only read use that property, and which collections exist.
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

from ingest.core import carried_properties, missing_numbers
from ingest.core import contract as contracts
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
_REFUSES_NAN = "is not a number"  # "value 'NaN' is not a number or infinity", as Milvus has said since 2.4.2
_LONGEST_ALIAS = 200
_ABANDONED_S = 600.0
"""A probe takes a second or so: an older one was left behind by a run that was killed."""
_NUMBER, _DIM = "number", 2
_PROBE_CONTRACT = Contract(
    version=1, alias="probe", keeps_others=False, id_max_length=8,
    index=HnswIndex("embedding", "IP", "HNSW", 16, 64, 16),
    fields=(Field(_NUMBER, "DOUBLE", _NUMBER, 0, math.nan),),
)  # fmt: skip


class ProbeAnswer(NamedTuple):
    """What a run found out: the server's version, and how it keeps a missing number."""

    version: str
    keeps: Keeps


class _Existing(NamedTuple):
    """What the server has: an earlier run's finding, how an existing collection keeps missing numbers, all names.

    The first two are None if there is no such run or collection.
    """

    finding: ProbeAnswer | None
    keeps: Keeps | None
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A contract adapted to this server.

    `refused` names the fields whose missing numbers the server cannot keep at all. `properties` are to be set on the
    collection, so that the next run need not probe again; `open` says in words what a run would still find out.
    """

    contract: Contract
    version: str = ""
    refused: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    open: str = ""


def adapt(connection: Connection, contract: Contract, space: Space) -> ProbeResult:
    """Return the contract adapted to the server, which is probed, with a collection of its own, if need be.

    Raises MilvusError if the server cannot be probed and no earlier run has found out.
    """
    if connection.is_lite or not missing_numbers.is_possible(contract):  # Milvus Lite takes NaN
        return ProbeResult(contract)
    existing = _look(connection, contract, space)
    _drop_abandoned(connection, contract.alias, existing.names)
    version, finding = _version(connection), existing.finding
    if finding is None or finding.version != version:
        before = finding.keeps if finding else existing.keeps
        Collection(connection, contract, space).check_alias()  # before anything is created
        try:
            finding = ProbeAnswer(version, _probe(connection, contract.alias))
        except MilvusError as error:
            if before is None:
                raise
            log.warning("%s; missing numbers are written as %s, as before", error, _WORDS[before])
            return _result(contract, ProbeAnswer(version, before))
        if before not in (None, finding.keeps):
            log.warning("Milvus at %s is %s now: missing numbers %s", connection.shown, version, _WILL[finding.keeps])
    return replace(_result(contract, finding), properties={PROPERTY: json.dumps(finding._asdict())})


def recall(connection: Connection, contract: Contract, space: Space) -> ProbeResult:
    """Return the contract adapted to the server by what earlier runs left there; writes nothing to the server."""
    if connection.is_lite or not missing_numbers.is_possible(contract):
        return ProbeResult(contract)
    existing, version = _look(connection, contract, space), _version(connection)
    finding = existing.finding
    if finding is not None and finding.version == version:
        return _result(contract, finding)
    keeps = finding.keeps if finding else existing.keeps or Keeps.NAN
    result = _result(contract, ProbeAnswer(version, keeps))
    name = contracts.collection_name(result.contract, space)
    step = f"find out how Milvus {version} keeps missing numbers"
    if finding is None and existing.keeps is None:
        return replace(result, open=f"{step}, which may give the collection another name than {name}")
    otherwise = f"fill a collection beside {name} with the stored vectors and move the alias"
    return replace(result, open=f"{step}, and if not as {_WORDS[keeps]}, {otherwise}")


_WORDS = {Keeps.NAN: "NaN", Keeps.NULL: "null", Keeps.NEITHER: "numbers that stand for them"}
_WILL = {
    Keeps.NAN: "are kept as NaN",
    Keeps.NULL: "are kept as null, in a new collection",
    Keeps.NEITHER: "can be kept as neither NaN nor null",
}


def _result(contract: Contract, finding: ProbeAnswer) -> ProbeResult:
    kept = missing_numbers.on_server(contract, finding.keeps)
    lacking = (field.name for field in contract.fields if field.may_be_missing and field.name not in kept.missing)
    return ProbeResult(kept, finding.version, tuple(lacking) if finding.keeps is Keeps.NEITHER else ())


def _look(connection: Connection, contract: Contract, space: Space) -> _Existing:
    client = connection.client
    order = (Keeps.NEITHER, Keeps.NAN, Keeps.NULL)  # without a number that stands for it, NEITHER is named as NAN
    by_name = {contracts.collection_name(missing_numbers.on_server(contract, keeps), space): keeps for keeps in order}
    served = alias_target(connection, contract.alias)
    names: Sequence[str] = connection.call("list the collections", client.list_collections)
    existing = [name for name in dict.fromkeys([served, *by_name]) if name in names]
    keeps = next((by_name[name] for name in existing if name in by_name), None)
    for name in existing:
        properties = connection.call("describe the collection", client.describe_collection, name).get("properties", {})
        if (finding := _parse_answer(properties.get(PROPERTY, ""))) is not None:
            return _Existing(finding, keeps, names)
    return _Existing(None, keeps, names)


def _parse_answer(text: str) -> ProbeAnswer | None:
    try:
        content = carried_properties.read_json(text)
        return ProbeAnswer(str(content["version"]), Keeps(content["keeps"]))
    except (ValueError, TypeError, KeyError):
        return None


def _version(connection: Connection) -> str:
    return str(connection.call("ask its version", connection.client.get_server_version))


def _probe(connection: Connection, alias: str) -> Keeps:
    """Create a collection with a nullable field: check whether it is nullable, and if not, whether NaN is taken."""
    client, doing = connection.client, "find out how missing numbers are kept"
    name = f"{alias[:_LONGEST_ALIAS]}_probe_{int(time.time()):08x}{secrets.token_hex(4)}"
    nullable = schema.schema(missing_numbers.on_server(_PROBE_CONTRACT, Keeps.NULL), _DIM)
    row = Embedded(Product("probe", "", {_NUMBER: math.nan}, 1), bytes(32), np.array([1, 0], np.float32))
    try:
        connection.call(doing, client.create_collection, name, schema=nullable, timeout=CALL_TIMEOUT_S)
        fields = connection.call(doing, client.describe_collection, name)["fields"]
        if any(field["name"] == _NUMBER and field.get("nullable") for field in fields):
            return Keeps.NULL
        connection.call(doing, connection.upsert, protobuf.request(name, [row], ["0" * 32], _PROBE_CONTRACT))
    except MilvusError as error:
        if _REFUSES_NAN not in str(error):
            raise
        return Keeps.NEITHER
    else:
        return Keeps.NAN
    finally:
        _drop(connection, name)


def _drop_abandoned(connection: Connection, alias: str, names: Sequence[str]) -> None:
    """Drop those of these collections that are probes of killed runs."""
    probe = re.compile(re.escape(alias[:_LONGEST_ALIAS]) + "_probe_([0-9a-f]{8})[0-9a-f]{8}")
    for name in names:
        if (match := probe.fullmatch(name)) and time.time() - int(match[1], 16) > _ABANDONED_S:
            _drop(connection, name)


def _drop(connection: Connection, name: str) -> None:
    try:
        connection.call(f"drop {name}", connection.client.drop_collection, name, timeout=CALL_TIMEOUT_S)
    except MilvusError as error:
        log.warning("%s; it is a probe of ingest, and safe to drop", error)
