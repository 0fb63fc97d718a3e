"""Errors that are reported before Ray starts."""

from __future__ import annotations

import sys

import pytest

from ingest.core.errors import ConfigError, EngineError
from ingest.core.settings import Settings
from ingest.pipeline.distributed.cluster import ActorPool, connect


@pytest.mark.parametrize(("actors", "bounds"), [("1", (1, 1)), ("8", (8, 8)), ("1,8", (1, 8)), (" 2, 4 ", (2, 4))])
def test_actors_are_a_number_or_a_minimum_and_a_maximum(actors, bounds):
    pool = ActorPool.of(Settings(actors=actors))
    assert (pool.fewest, pool.most) == bounds


@pytest.mark.parametrize("actors", ["", "0", "4,2", "1,2,3", "many", "-1", "1.5", "²"])
def test_anything_else_is_refused(actors):
    with pytest.raises(ConfigError, match="--actors"):
        ActorPool.of(Settings(actors=actors))


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"Ray is not installed .*pip install 'ingest\[ray\]'"), connect("local"):
        pass
