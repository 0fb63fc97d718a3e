"""A collection's properties: written so that they outlive the server, and the contract among them read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ingest.core import carried_properties
from ingest.core.contract import HIGH_WATER, PROPERTY
from ingest.core.errors import MilvusError
from ingest.sync.high_water import HighWater

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.collection_layout import Layout
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

REPLICAS = "collection.replica.number"
"""Milvus' own property: the replicas of a load that names no number, since 2.4.13; older servers ignore it."""


def set_properties(connection: Connection, name: str, properties: dict[str, str]) -> None:
    """Set properties of a collection so that they outlive the server."""
    for _ in range(2):  # after a restart Milvus 2.3.5 has the alteration before the last (milvus #30144)
        connection.call(f"set properties of {name}", connection.client.alter_collection_properties, name, properties)


def get(connection: Connection, name: str) -> dict[str, str]:
    """Return the properties of a collection."""
    description = connection.call("describe the collection", connection.client.describe_collection, name)
    return dict(description.get("properties", {}))


def update(connection: Connection, name: str, properties: Mapping[str, str]) -> None:
    """Set those of these properties that the collection lacks or has with another value."""
    found = get(connection, name) if properties else {}
    if newer := {key: value for key, value in properties.items() if found.get(key) != value}:
        set_properties(connection, name, newer)


def check_built(connection: Connection, alias: str, name: str, description: Mapping[str, Any]) -> None:
    """Raise MilvusError if Milvus' description of the collection that an alias serves shows no contract."""
    if PROPERTY not in description.get("properties", {}):
        raise MilvusError(
            f"Milvus at {connection.shown}: the alias {alias} serves {name}, which ingest did not build; drop the "
            "alias, or change the alias in the contract"
        )


def contract_of_served(connection: Connection, alias: str, name: str, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contract of the collection that an alias serves, from Milvus' description of it.

    Raises MilvusError if it carries none, so that ingest did not build it, or one that cannot be read.
    """
    check_built(connection, alias, name, description)
    contract = carried_properties.read_contract(description["properties"][PROPERTY])
    if not contract:
        raise MilvusError(
            f"Milvus at {connection.shown}: the alias {alias} serves {name}, whose property {PROPERTY} cannot be "
            "read; ingest run with the model and schema that it was built with writes it again"
        )
    return contract


def high_water(connection: Connection, name: str) -> HighWater:
    """Return how many products apps found lately, as a collection's property says."""
    return HighWater.parse(get(connection, name).get(HIGH_WATER, ""))


def keep_high_water(connection: Connection, name: str, known: HighWater, found: HighWater) -> None:
    """Set how many products apps `found` lately, unless that is `known` already.

    The results of a run do not depend on it: if the server refuses, that is logged.
    """
    if found == known:
        return
    try:
        set_properties(connection, name, {HIGH_WATER: found.to_json()})
    except MilvusError as error:
        log.warning("%s; how many products apps found in this run is not remembered", error)


def of_layout(layout: Layout) -> dict[str, str]:
    """Return the properties that say how the server loads a collection by itself, if the contract says so."""
    return {REPLICAS: str(layout.replicas)} if layout.replicas else {}
