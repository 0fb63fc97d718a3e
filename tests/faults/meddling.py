"""What somebody else's client does to a shop's collection while a run is under way."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pymilvus import DataType, MilvusClient

if TYPE_CHECKING:
    from collections.abc import Callable


def drop(uri: str, alias: str) -> None:
    """Drop the collections behind an alias."""
    with closing(MilvusClient(uri=uri)) as client:
        for name in client.list_collections():
            if name.startswith(f"{alias}_"):
                client.drop_collection(name)


def drop_served(uri: str, alias: str) -> None:
    """Point the alias at the collection that is being filled and drop that: on some servers the alias dangles then."""
    with closing(MilvusClient(uri=uri)) as client:
        (name,) = (name for name in client.list_collections() if name.startswith(f"{alias}_"))
        client.create_alias(name, alias)
    drop(uri, alias)


def take(uri: str, alias: str) -> None:
    """Point the alias at a collection of one's own."""
    with closing(MilvusClient(uri=uri)) as client:
        other = f"others_{alias}"
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
        client.create_collection(other, schema=schema)
        if client.has_collection(alias):
            client.alter_alias(other, alias)
        else:
            client.create_alias(other, alias)


MEDDLING: dict[str, Callable[[str, str], None]] = {"drop": drop, "drop served": drop_served, "take": take}
