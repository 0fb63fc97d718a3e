"""One cluster for all tests on Ray, and a bucket that the tests and the cluster find in the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ray_shop import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.cluster_utils import Cluster
    from support.object_storage import Storage


@pytest.fixture(scope="package")
def storage() -> Iterator[Storage]:
    from support.object_storage import object_storage  # moto, slow to import, and most tests do not need it

    with object_storage() as storage:
        yield storage


@pytest.fixture(scope="package")
def cluster(storage: Storage) -> Iterator[Cluster]:
    """Start the nodes after the bucket is in the environment, which the workers inherit."""
    with running_cluster() as cluster:
        yield cluster
