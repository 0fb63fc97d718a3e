"""The options that commands share: groups in --help, limits, and the settings made of them."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from ingest.cli import options
from ingest.cli.main import cli
from ingest.cli.param_types import Limit
from ingest.core.errors import ConfigError
from ingest.core.settings import Settings
from ingest.pipeline.skipped import too_many

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("command", ["run", "embed", "export", "search", "doctor"])
def test_help_shows_every_option_once_and_under_a_heading(command):
    out = CliRunner().invoke(cli, [command, "--help-all"], env={"COLUMNS": "200"}).stdout
    headings = re.findall(r"^(\w+):$", out, re.MULTILINE)
    assert headings[-1] == "Other", "the last holds the two kinds of help alone"
    assert len(headings) == len(set(headings))
    others = [line.split()[0].rstrip(",") for line in out.partition("\nOther:\n")[2].splitlines()]
    assert others == ["--help-all", "-h"]
    flags = re.findall(r"^  (?:-\w, )?(--[\w-]+)", out, re.MULTILINE)
    assert len(flags) == len(set(flags))
    assert {"--model", "--data", "--config"} <= set(flags)


def test_help_never_shows_a_token(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", "s3cr3t")
    assert "s3cr3t" not in CliRunner().invoke(cli, ["run", "--help"]).stdout


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch-size", "0"],
        ["--batch-size", "many"],
        ["--sample", "-1"],
        ["--download-workers", "0"],
        ["--download-tries", "0"],
        ["--download-timeout", "0"],
        ["--max-wait", "-1"],
        ["--max-image-bytes", "0"],
        ["--dtype", "int8"],
    ],
)
def test_a_value_out_of_bounds_is_a_mistake_in_usage_that_names_the_flag(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["run", *flags])
    assert result.exit_code == 2
    assert f"'{flags[0]}'" in result.stderr


def test_a_command_that_lacks_an_option_leaves_the_setting_at_its_default():
    made = options.settings({"model": "m", "as_json": True, "limit": 3})
    assert asdict(made) == asdict(Settings(model="m"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--actors", "4"], "--actors works with --engine ray only."),
        (["run", "--engine", "ray", "--bulk-folder", "x"], "--bulk-folder works with --engine threads only"),
        (["run", "--bulk-path", "/x"], "--bulk-path works with --bulk-folder only."),
        (["plan", "--estimate", "--prune"], "--prune has no effect with --estimate."),
        (["plan", "--estimate", "--max-skipped", "3"], "--max-skipped has no effect with --estimate."),
    ],
)
def test_a_flag_that_would_be_ignored_is_a_mistake_in_usage(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, said in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            found = group.get_command(ctx, name)
            yield " ".join((*names, name)), found
            if isinstance(found, click.Group):
                yield from commands(found, *names, name)


def test_every_command_that_reads_a_catalog_takes_the_same_catalog_options():
    """Settings of a catalog in ingest.toml that one command ignores would give it other products, or other images."""
    wanted = {"catalog", "id_column", "image_column", "schema", "images_root", "min_side", "max_pixels",
              "skip_blank"}  # fmt: skip
    given = {}
    for name, command in commands(cli):
        own = {param.name: param for param in command.params if param.name in wanted}
        if "catalog" in own and name not in (
            "init",
            "search",
            "recommend",
        ):  # one makes them, the others read its folder alone
            given[name] = {key: (param.opts, param.default, str(param.type)) for key, param in own.items()}
    assert set(given) == {
        "run", "plan", "embed", "export", "fetch", "verify", "doctor", "store compact", "store gc", "store restore",
    }  # fmt: skip
    assert set(given["run"]) == wanted
    for name, taken in given.items():
        assert taken == given["run"], name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "shop.csv"], "Unexpected argument 'shop.csv'. Did you mean --catalog shop.csv?"),
        (["plan", "s3://shop/my feed/"], "Did you mean --catalog 's3://shop/my feed/'?"),
        (["run", "now"], "Unexpected argument 'now'."),
        (["run", "--catalog", "my", "shop.csv", "x"], "Unexpected arguments 'shop.csv x'. A value with spaces needs"),
        (["status", "shop.csv"], "Unexpected argument 'shop.csv'."),
        (["run", "--max-skipped", "abc"], "'--max-skipped': 'abc': pass a number such as 50, or a share such as 5%"),
        (["fetch", "--refresh-older-than", "soon"], "soon: not a duration; write a number and s, m, h, d or w"),
        (["recommend", "P1", "--balance", "0.2"], "--balance works with --diverse only."),
        (["evaluate", "--sweep-m", "8"], "--sweep-m works with --sweep-build only."),
        (["search", "mug", "--image-weight", "0.5"], "--image-weight works with --image only."),
    ],
)
def test_a_mistake_in_usage_is_met_with_what_was_meant(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize("share", ["", "0", "50", "5%", "2.5 %", ".5%", "1e3"])
def test_a_limit_of_skipped_products_is_a_number_or_a_share(share):
    assert Limit().convert(share, None, None) == share
    assert too_many(1, 0, share) in (True, False), "what the command line takes, the run can read"


def test_an_invalid_limit_in_the_settings_file_names_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ingest.toml").write_text('data = "d"\nmax_skipped = "abc"\n', encoding="utf-8")
    result = CliRunner().invoke(cli, ["run"])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith("ingest.toml line 2: max_skipped: 'abc': pass a number")
