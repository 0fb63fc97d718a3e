"""The keywords of the functions are the flags of the commands: names, types, limits, choices and defaults."""

from __future__ import annotations

import inspect
from os import PathLike
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import click
import pytest

import ingest
from ingest.api import functions, keywords, loaded_encoder, products
from ingest.api.keywords import Limits
from ingest.cli.main import cli
from ingest.core.settings import Settings

VERBS = {
    "run": functions.RUN, "plan": functions.PLAN, "fetch": functions.FETCH, "embed": functions.EMBED,
    "export": functions.EXPORT, "verify": functions.VERIFY,
}  # fmt: skip
ONLY_FLAGS = {
    "--json", "--quiet", "--help", "--help-all",  # a function returns its result, and shows nothing unasked
    "--dry-run", "--details",  # ingest.plan, and the plan's changes()
    "--estimate",  # returns something else than a plan
}  # fmt: skip
ONLY_KEYWORDS = {"progress", "stop"}
WIDER = {"actors", "max_skipped"}
"""Texts that may be numbers, in Python too."""


def options(name: str) -> dict[str, click.Option]:
    """Return a command's options by their keywords; --config stands in for the option that is read first."""
    # Click keeps the first help option that a command makes.
    with click.Context(cli, help_option_names=["-h", "--help"]) as ctx:
        command = cli.get_command(ctx, name)
        params = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    flags = {max(param.opts, key=len): param for param in params}
    return {flag.removeprefix("--").replace("-", "_"): param for flag, param in flags.items() if flag not in ONLY_FLAGS}


@pytest.mark.parametrize("name", VERBS)
def test_every_flag_of_a_command_is_a_keyword_of_the_function_and_the_reverse(name):
    parameters = inspect.signature(getattr(ingest, name)).parameters
    assert set(parameters) - ONLY_KEYWORDS == set(options(name)) == set(VERBS[name].hints)


@pytest.mark.parametrize("name", VERBS)
def test_a_keyword_has_the_flags_type_limits_and_choices(name):
    for keyword, option in options(name).items():
        assert said_by_click(option) == said_by_hint(VERBS[name].hints[keyword], keyword), keyword


@pytest.mark.parametrize("name", VERBS)
def test_the_signature_shows_the_flags_defaults(name):
    parameters = inspect.signature(getattr(ingest, name)).parameters
    for keyword, option in options(name).items():
        assert parameters[keyword].default == option.to_info_dict()["default"], keyword


@pytest.mark.parametrize(
    ("function", "command", "elsewhere"),
    [
        (products.CONNECT, "search", {"text", "image", "product", "text_weight", "image_weight", "product_weight",
                                      "queries", "filter", "limit", "backend", "csv", "html", "pictures"}),
        (loaded_encoder.ENCODER, None, set()),
    ],
)  # fmt: skip
def test_what_connect_and_load_encoder_take_are_flags_too(function, command, elsewhere):
    if command:
        assert set(function.hints) == set(options(command)) - elsewhere
    else:
        assert set(function.hints) == {"model", "model_revision", "device", "dtype", "batch_size"}


@pytest.mark.parametrize(
    ("method", "command"), [("search", "search"), ("recommend", "recommend"), ("similar", "recommend")]
)
def test_what_a_search_takes_are_flags_too(method, command):
    own = set(inspect.signature(getattr(ingest.Products, method)).parameters) - {"self", "products", "product"}
    assert own <= set(options(command))


def test_the_groups_have_no_keyword_that_no_function_has():
    kinds = [kind for kind in vars(keywords).values() if hasattr(kind, "__total__")]
    named = {name for kind in kinds for name in get_type_hints(kind)}
    functions = [*VERBS.values(), products.CONNECT, loaded_encoder.ENCODER]
    assert named <= {name for function in functions for name in function.hints}


def said_by_click(option: click.Option) -> tuple[Any, ...]:
    kind = option.type
    if option.is_flag:
        return ("flag",)
    if isinstance(kind, click.Choice):
        return ("choice", *kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        number = "int" if isinstance(kind, click.IntRange) else "float"
        most = float("inf") if kind.max is None else kind.max
        return (number, kind.min, most, *(["auto"] if type(kind).__name__ in ("BatchSize", "GpuShare") else []))
    return ("path",) if isinstance(kind, click.Path) else ("text",)


PLACES = {"catalog": "path", "uri": "text", "store": "text", "model": "text"}
"""What may be a path or a URL, a name or an address: the flags take the one, or the other."""


def said_by_hint(hint: Any, name: str) -> tuple[Any, ...]:
    if name in PLACES:
        return (PLACES[name],)
    if hint is bool:
        return ("flag",)
    if get_origin(hint) is Literal:
        return ("choice", *get_args(hint))
    if get_origin(hint) is Annotated:
        number, limits = get_args(hint)
        assert isinstance(limits, Limits)
        return (number.__name__, *limits)
    parts = [part for part in get_args(hint) if part is not type(None)]
    if name in WIDER:
        assert set(parts) == {int, str}
    numbers = [part for part in parts if get_origin(part) is Annotated]
    if numbers:
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        return (*said_by_hint(numbers[0], ""), *words)
    return ("path",) if any(get_origin(part) is PathLike for part in parts) else ("text",)


def test_no_subpackage_has_the_name_of_a_function():
    from pkgutil import iter_modules

    modules = {module.name for module in iter_modules(ingest.__path__)}
    assert modules & set(ingest.__all__) == set()


def test_a_default_is_that_of_the_settings():
    settings = Settings()
    for verb in VERBS.values():
        for name, default in verb.defaults.items():
            if hasattr(settings, name) and not (name == "sample" and verb is functions.VERIFY):
                assert default == getattr(settings, name)
