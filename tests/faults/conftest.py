"""What tests of several faults share."""

from __future__ import annotations

import pytest

from faults.forked import Forked


@pytest.fixture(scope="session")
def forked() -> Forked:
    return Forked()
