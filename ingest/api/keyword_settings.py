"""Keywords → `Settings`: checked by the types in `keywords.py`; a settings file is read only if one is named."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ingest.api.keywords import PATHS, Limits, Place
from ingest.core import settings as configuration
from ingest.core.errors import ConfigError
from ingest.core.redaction import redact
from ingest.core.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_SECRETS = frozenset({"token"})
_PLACES = {
    "catalog": ["a path", "a URL"],
    "store": ["a path", "a URL"],
    "uri": ["an address", "the path of a Milvus Lite file"],
    "model": ["a hub id", "a folder"],
}


class Keywords:
    """The keywords of one function: `kind` is its TypedDict, `first` the one that it takes without a name too.

    `defaults` are of those that are no settings, and so not read from a file either.
    """

    def __init__(self, function: str, kind: type, first: str, **defaults: Any) -> None:
        self.function = function
        self.hints: dict[str, Any] = {first: Place, **get_type_hints(kind, include_extras=True)}
        settings = Settings()
        known = {setting.name: getattr(settings, setting.name) for setting in fields(Settings)} | defaults
        self.defaults = {name: known.get(name) for name in self.hints}
        self._in_file = self.hints.keys() - defaults.keys()

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was given, and what the file named by `config` adds, checked and in the settings' types.

        Raises TypeError for a keyword that does not exist, ConfigError for a value that does not fit.
        """
        if unknown := next((name for name in given if name not in self.hints), None):
            raise TypeError(f"{self.function}() got an unexpected keyword argument {unknown!r}{self._like(unknown)}")
        values = {name: self._checked(name, value, name) for name, value in given.items()}
        path = values.pop("config", None)
        if path is None:
            return values
        from_file = {
            name: self._checked(name, value, f"{configuration.locate_key(path, name)}: {name}")
            for name, value in configuration.read(path).items()
            if name in self._in_file
        }
        return from_file | values

    def _checked(self, name: str, value: Any, place: str) -> Any:
        found = _fit(self.hints[name], value)
        if found is _UNFIT:
            shown = f"of type {type(value).__name__}" if name in _SECRETS else _display(value)
            raise ConfigError(f"{place} is {shown}; give {' or '.join(_describe(self.hints[name], name))}")
        return _in_settings(name, found)

    def _like(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name.replace("-", "_"), self.hints, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Make the settings of a call's values, as `Keywords.read` returns them; what is no setting is left out."""
    return Settings(**{name: value for name, value in values.items() if name in configuration.KEYS})


def shows(keywords: Keywords) -> Callable[[F], F]:
    """Show a function's keywords, with defaults, in place of `**keywords`: in `help()` and where prompts complete."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        defaults, hints = keywords.defaults, keywords.hints
        own = [
            one.replace(default=defaults[one.name], annotation=hints[one.name]) if one.name in hints else one
            for one in own
        ]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hint)
            for name, hint in hints.items()
            if name not in signature.parameters
        ]
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return function

    return decorate


_UNFIT = object()


def _fit(hint: Any, value: Any) -> Any:  # noqa: PLR0911  one case a line
    """Return a value as a type has it, `_UNFIT` if it does not."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return next((fit for part in parts if (fit := _fit(part, value)) is not _UNFIT), _UNFIT)
    if origin is Annotated:
        number = _fit(parts[0], value)
        limits: Limits = parts[1]
        return number if number is not _UNFIT and limits.least <= number <= limits.greatest else _UNFIT
    if origin is Literal:
        return value if isinstance(value, str) and value in parts else _UNFIT
    if origin is PathLike:
        return fspath(value) if isinstance(value, PathLike) and isinstance(fspath(value), str) else _UNFIT
    if origin is Sequence:
        is_list = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        return ",".join(value) if is_list else _UNFIT
    if hint in (int, float):
        return _number(hint, value)
    return value if isinstance(value, hint) else _UNFIT


def _number(kind: type, value: Any) -> Any:
    """Return a number of Python's, also of one of numpy's; True and False are none."""
    if isinstance(value, bool) or not hasattr(value, "__index__" if kind is int else "__float__"):
        return _UNFIT
    return value.__index__() if kind is int else float(value)


def _describe(hint: Any, name: str = "") -> list[str]:  # noqa: PLR0911  one case a line
    """Say what a type takes, as alternatives."""
    origin, parts = get_origin(hint), get_args(hint)
    if name in _PLACES:
        return _PLACES[name]
    if origin in (Union, types.UnionType):
        is_path = any(get_origin(part) is PathLike for part in parts)
        return [said for part in parts if not (part is str and is_path) for said in _describe(part)]
    if origin is Annotated:
        return [_describe(parts[0])[0] + _bounds(parts[1])]
    if origin is Literal:
        return [repr(choice) for choice in parts]
    if origin is PathLike:
        return ["a path"]
    if origin is Sequence:
        return ["a list of texts"]
    return [
        {int: "a whole number", float: "a number", bool: "True or False", str: "a text", types.NoneType: "None"}[hint]
    ]


def _bounds(limits: Limits) -> str:
    if limits.greatest == float("inf"):
        return f" of at least {limits.least:g}"
    return f" from {limits.least:,g} to {int(limits.greatest) if limits.greatest > 1 else limits.greatest:,}"


def _display(value: Any) -> str:
    """Show a value in a message: short, and without the password of a URL."""
    if isinstance(value, str):
        return repr(redact(value))
    if isinstance(value, bool | int | float | None):
        return repr(value)
    return f"of type {type(value).__name__}"


def _in_settings(name: str, value: Any) -> Any:
    """Return a value as `Settings` has it: a path is a `Path`, unless it may be a URL."""
    if name in PATHS:
        return None if value is None else Path(value).expanduser()
    if name in ("catalog", "store") and "://" not in value:
        return Path(value).expanduser() if name == "catalog" else str(Path(value).expanduser())
    return str(value) if name in ("actors", "max_skipped") else value
