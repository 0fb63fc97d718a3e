"""One Milvus server for a whole run of the tests: the first worker that needs it starts it, the process that started
the workers removes it.

A fixture of each test keeps what it makes apart: an alias and collections whose names begin with its own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from pymilvus import MilvusClient
from support.milvus_container import MilvusUnavailableError, remove_container, start_milvus

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORTED = "/import"
"""Where the server sees the folder that it shares with the tests."""
_FOLDER = "INGEST_TESTS_FOLDER"
_SERVER, _SHARED = "server.json", "import"


def on_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder that the workers share; they inherit its name."""
    if not hasattr(config, "workerinput"):
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="ingest-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the server, if a test has asked for it."""
    if hasattr(config, "workerinput"):
        return
    folder = Path(os.environ.pop(_FOLDER))
    if (folder / _SERVER).exists():
        remove_container(json.loads((folder / _SERVER).read_text())["container"])
    shutil.rmtree(folder, ignore_errors=True)  # the server writes there as another user


@pytest.fixture(scope="session")
def milvus_uri() -> str:
    """Return the URI of the server that all tests share; start it if this is the first to ask."""
    folder = Path(os.environ[_FOLDER])
    with FileLock(folder / "server.lock"):
        if not (folder / _SERVER).exists():
            (folder / _SHARED).mkdir(exist_ok=True)
            (folder / _SHARED).chmod(0o777)
            try:
                uri, container = start_milvus({str(folder / _SHARED): IMPORTED})
            except MilvusUnavailableError as error:
                if on_ci():
                    # A pipeline that skips its integration tests stays green while nothing is tested.
                    message = f"the integration tests must not be skipped on CI: {error}"
                    raise pytest.fail.Exception(message, pytrace=False) from None
                pytest.skip(str(error))
            (folder / _SERVER).write_text(json.dumps({"uri": uri, "container": container}))
    return str(json.loads((folder / _SERVER).read_text())["uri"])


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


@pytest.fixture
def import_folder(milvus_uri: str, collection_name: str) -> Path:
    """Make a folder of the test's own, which the server sees by that name in IMPORTED, and both may write to."""
    folder = Path(os.environ[_FOLDER], _SHARED, collection_name)
    folder.mkdir()
    folder.chmod(0o777)
    return folder


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
