"""Libraries that tests import when they run: every worker reads all files of tests, and torch takes it four seconds."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """A module that is imported when one of its names is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


torch, transformers = Late("torch"), Late("transformers")
