"""What tests of several faults share."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from faults.forked import Forked

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    with closing(Forked()) as forked:
        yield forked
