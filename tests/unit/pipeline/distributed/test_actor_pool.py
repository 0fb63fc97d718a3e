"""How many models run on a cluster: found from its nodes, and what they cannot have is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.errors import ClusterSizeError, ConfigError
from ingest.core.settings import Settings
from ingest.pipeline.distributed.actor_pool import (
    EMBED_CPUS,
    FETCH_CPUS,
    UPSERT_CPUS,
    ActorPool,
    Node,
    check_settings,
    choose_pool,
)

SMALL, LARGE, GPU = Node(2, 0), Node(64, 0), Node(16, 4)
nodes = st.lists(st.builds(Node, st.integers(0, 9).map(float), st.integers(0, 3).map(float)), max_size=5)


@pytest.mark.parametrize(
    ("asked", "cluster", "pool"),
    [
        ({}, [SMALL], ActorPool(1, 1, 0, 2)),
        ({}, [Node(1, 0)], ActorPool(1, 1, 0, 2)),
        ({}, [LARGE, LARGE, SMALL], ActorPool(1, 3, 0, 2)),
        ({}, [GPU, SMALL], ActorPool(1, 4, 1, 2)),
        ({}, [GPU, GPU], ActorPool(1, 8, 1, 2)),
        ({"actors": "3"}, [SMALL], ActorPool(3, 3, 0, 2)),
        ({"actors": "2,9"}, [SMALL], ActorPool(2, 3, 0, 2)),
        ({"actors": " 2, 4 "}, [GPU], ActorPool(2, 4, 1, 2)),
        ({"gpus_per_actor": 0.0}, [GPU], ActorPool(1, 1, 0, 2)),
        ({"gpus_per_actor": 0.5}, [GPU], ActorPool(1, 8, 0.5, 2)),
        ({"gpus_per_actor": 2.0}, [GPU, Node(8, 3)], ActorPool(1, 3, 2, 2)),
        ({"upsert_parallelism": 12, "actors": "5"}, [Node(4, 0)], ActorPool(5, 5, 0, 12)),
    ],
)
def test_what_is_not_asked_for_is_found_from_the_nodes(asked, cluster, pool):
    assert replace(choose_pool(Settings(**asked), cluster), fetches=1) == pool


@pytest.mark.parametrize(
    ("asked", "cluster", "words"),
    [
        ({"actors": "4"}, [SMALL], "--actors 4: the cluster has 2 CPUs and 0 GPUs, which is room for 3"),
        ({"actors": "2,3"}, [Node(1, 0)], "--actors 2,3: the cluster has 1 CPU and 0 GPUs, which is room for 1"),
        ({"actors": "9"}, [GPU, GPU], "--actors 9: the cluster has 32 CPUs and 8 GPUs, which is room for 8"),
        (
            {"gpus_per_actor": 1.0},
            [SMALL],
            "--gpus-per-actor 1: the cluster has 2 CPUs and 0 GPUs, and no node",
        ),
        ({"gpus_per_actor": 8.0}, [GPU, GPU], "--gpus-per-actor 8: the cluster has 32 CPUs and 8 GPUs, and no node"),
        (
            {},
            [Node(0, 4)],
            "--engine ray: the cluster has 0 CPUs and 4 GPUs, and a run with --ups",
        ),
        (
            {},
            [Node(0.5, 0)],
            "--engine ray: the cluster has 0.5 CPUs and 0 GPUs, and a run with --ups",
        ),
        (
            {"upsert_parallelism": 20},
            [SMALL],
            "--engine ray: the cluster has 2 CPUs and 0 GPUs, and a run with --ups",
        ),
        (
            {"actors": "9"},
            [Node(8, 2)],
            "--actors 9: the cluster has 8 CPUs and 2 GPUs, which is room for 2: each needs 1 G",
        ),
        ({}, [], "--engine ray: the cluster has 0 CPUs and 0 GPUs, and a run with --ups"),
    ],
)
def test_what_the_cluster_cannot_have_is_one_line(asked, cluster, words):
    with pytest.raises(ClusterSizeError) as caught:
        choose_pool(Settings(**asked), cluster)
    assert str(caught.value).startswith(words)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("actors", ["", "0", "4,2", "1,2,3", "many", "-1", "1.5", "²", "auto,2"])
def test_other_numbers_of_actors_are_refused(actors):
    with pytest.raises(ConfigError, match="--actors"):
        check_settings(Settings(actors=actors))


@pytest.mark.parametrize("gpus", ["", "many", "-1", "inf", "nan"])
def test_other_numbers_of_gpus_are_refused(gpus):
    with pytest.raises(ConfigError, match="--gpus-per-actor"):
        check_settings(Settings(gpus_per_actor=gpus))


@given(
    nodes,
    st.sampled_from(["auto", "1", "2", "5", "1,4", "3,30"]),
    st.sampled_from(["auto", 0.0, 0.25, 0.5, 1.0, 2.0]),
    st.integers(1, 20),
)
def test_all_actors_fit_and_a_task_that_fetches_beside_them(cluster, actors, gpus, upserts):
    settings = Settings(actors=actors, gpus_per_actor=gpus, upsert_parallelism=upserts)
    try:
        pool = choose_pool(settings, cluster)
    except ClusterSizeError:
        return
    assert 1 <= pool.fewest <= pool.most
    cpus = sum(node.cpus for node in cluster)
    taken = FETCH_CPUS + upserts * UPSERT_CPUS * (not pool.gpus) + pool.most * EMBED_CPUS * (not pool.gpus)
    assert taken <= cpus + 1e-9
    assert taken + (pool.fetches - 1) * FETCH_CPUS <= cpus + upserts * UPSERT_CPUS + 1e-9
    assert pool.most * pool.gpus <= sum(node.gpus for node in cluster)
