"""Exceptions on their way from a worker to the driver."""

from __future__ import annotations

import pickle

from ingest.pipeline.distributed.ray_data import _portable


class NotRebuiltError(Exception):
    """Is pickled, and cannot be made again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def test_an_exception_that_another_process_cannot_make_says_what_it_was():
    error = ValueError("plain")
    assert _portable(error) is error
    assert str(_portable(NotRebuiltError("a", "b"))) == "NotRebuiltError: a b"
    with_lambda = ValueError(lambda: None)
    assert str(_portable(with_lambda)).startswith("ValueError: ")
    assert pickle.loads(pickle.dumps(_portable(with_lambda))).args
