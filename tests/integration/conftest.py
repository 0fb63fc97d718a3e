"""Fixtures for tests against a real Milvus server."""

from __future__ import annotations

import os
import uuid
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from milvus_container import MilvusUnavailableError, running_milvus
from pymilvus import MilvusClient

if TYPE_CHECKING:
    from collections.abc import Iterator


def on_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}


@pytest.fixture(scope="session")
def milvus_uri() -> Iterator[str]:
    """Start a Milvus server for the whole test session and give its URI."""
    with ExitStack() as stack:
        try:
            uri = stack.enter_context(running_milvus())
        except MilvusUnavailableError as error:
            if on_ci():
                # A pipeline that skips its integration tests stays green while nothing is tested.
                message = f"the integration tests must not be skipped on CI: {error}"
                raise pytest.fail.Exception(message, pytrace=False) from None
            pytest.skip(str(error))
        yield uri


@pytest.fixture
def collection_name(milvus_uri: str) -> Iterator[str]:
    """Make up a name that no other test uses, and drop what the test puts under it.

    That is the alias or collection of this name, the collection behind the alias, and every collection
    whose name begins with it.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with closing(MilvusClient(uri=milvus_uri)) as client:
        drop_all(client, name)


def drop_all(client: MilvusClient, name: str) -> None:
    collections = {found for found in client.list_collections() if found.startswith(name)}
    if client.has_collection(name):
        collections.add(client.describe_collection(name)["collection_name"])
    for collection in sorted(collections):
        # Milvus 2.3 drops a collection with its aliases still on, and then can neither find nor reuse them;
        # later versions refuse to drop it.
        for alias in client.list_aliases(collection)["aliases"]:
            client.drop_alias(alias)
        client.drop_collection(collection)
