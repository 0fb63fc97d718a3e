"""The settings: what ingest.toml may say, and who wins over whom on the real commands."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ingest.cli.main import cli
from ingest.core import settings
from ingest.core.errors import ConfigError
from ingest.core.settings import KEYS, Settings, read


def written(folder: Path, text: str) -> Path:
    path = folder / "ingest.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message.removeprefix(str(path))


def test_every_kind_of_value_is_read(tmp_path):
    text = 'batch_size = 8\ndownload_missing = true\nmax_wait = 5\nmodel = "a/b"\nmax_skipped = 3\n"device" = "cpu"\n'
    assert read(written(tmp_path, text)) == {
        "batch_size": 8, "download_missing": True, "max_wait": 5, "model": "a/b", "max_skipped": 3, "device": "cpu",
    }  # fmt: skip


def test_a_batch_is_a_number_or_found_out(tmp_path):
    assert read(written(tmp_path, 'batch_size = "auto"\n')) == {"batch_size": "auto"}
    assert (Settings().batch, Settings(batch_size=8).batch) == (0, 8)


def test_an_empty_file_says_nothing(tmp_path):
    assert read(written(tmp_path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n\nbatchsize = 3", 3, "batchsize is not a setting (did you mean batch_size?)"),
        ("batch-size = 3", 1, "batch-size is not a setting (did you mean batch_size?)"),
        ('model = "m"\n"catalgo" = 3', 2, "catalgo is not a setting (did you mean catalog?)"),
        ("zzz = 3", 1, "zzz is not a setting; keys are the flags of ingest run --help-all"),
        ('model = "m"\n[milvus]\nuri = "x"', 2, "milvus is not a setting"),
        ('# a\n[model]\nname = "x"', 2, "model must be a plain value, not a dict"),
        ('[[catalog]]\nname = "x"', 1, "catalog must be a plain value, not a list"),
        ('catalog = ["a", "b"]', 1, "catalog must be a plain value, not a list"),
        ('catalog.path = "a"', 1, "catalog must be a plain value, not a dict"),
        ('\ntoken = "root:Milvus"', 2, "a token does not belong in a file; set MILVUS_TOKEN"),
        ("catalog = 5", 1, 'catalog is 5; write it as in catalog = "text"'),
        ("data = 2026-01-01", 1, "data is datetime.date(2026, 1, 1); write it as in"),
        ('batch_size = "many"', 1, "batch_size is 'many'; write it as in batch_size = 32"),
        ("batch_size = 1.5", 1, "batch_size is 1.5"),
        ("sample = true", 1, "sample is True"),
        ("max_wait = false", 1, "max_wait is False; write it as in max_wait = 20.0"),
        ('download_missing = "no"', 1, "download_missing is 'no'; write it as in download_missing = true"),
        ("exports = 0", 1, "exports is 0"),
        ("model_revision = 1", 1, "model_revision is 1"),
        ("max_skipped = true", 1, "max_skipped is True"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_line_and_the_key(tmp_path, text, line, words):
    message = refused(tmp_path, text)
    assert message.startswith(f" line {line}: {words}")
    assert "Milvus:" not in message.partition(": ")[2]


@pytest.mark.parametrize(
    ("text", "place"),
    [('model = "m"\nbatch_size = ', "line 2"), ("model = a/b", "line 1"), ("= 3", "line 1")],
)
def test_broken_toml_names_its_line(tmp_path, text, place):
    assert place in refused(tmp_path, text)


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read .*; pass --config FILE"):
            read(path)
    (tmp_path / "latin.toml").write_bytes(b'model = "\xfc"')
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "latin.toml")


def test_paths_are_taken_from_the_files_own_folder(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.setenv("HOME", "/home/me")
    text = 'catalog = "c.csv"\ndata = "/abs"\nschema = "~/s.toml"\nmodel = "models/mine"\nuri = "m.db"\n'
    assert read(written(tmp_path, text)) == {
        "catalog": str(tmp_path / "c.csv"), "data": "/abs", "schema": "/home/me/s.toml",
        "model": str(tmp_path / "models" / "mine"), "uri": str(tmp_path / "m.db"),
    }  # fmt: skip


def test_what_is_no_path_stays_as_it_is(tmp_path):
    names = {"catalog": "s3://shop/*.csv", "store": "s3://vectors", "id_column": "data"}
    names |= {"model": "openai/clip-vit-base-patch32", "uri": "http://localhost:19530"}
    assert read(written(tmp_path, "\n".join(f'{key} = "{value}"' for key, value in names.items()))) == names


@pytest.mark.parametrize("value", ["~nobody-of-that-name/m", "x" * 5000])
def test_a_name_that_the_system_cannot_look_for_is_left_to_who_uses_it(tmp_path, value):
    assert read(written(tmp_path, f'model = "{value}"')) == {"model": value}


def test_the_defaults_lie_in_the_data_folder():
    settings = Settings(data=Path("d"))
    assert settings.milvus_uri == str(Path("d/milvus.db"))
    assert {settings.npy.parent, settings.npy_ids.parent, settings.indexes.parent / "embeddings"} == {
        Path("d/embeddings")
    }
    assert Settings(uri="http://x").milvus_uri == "http://x"


def test_a_token_is_not_shown():
    shown = repr(Settings(token="root:secret", uri="http://root:secret@host", model="m"))
    assert "secret" not in shown
    assert "model='m'" in shown


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    return {name: cli.get_command(context, name) for name in cli.list_commands(context)}


def test_every_setting_is_an_option_of_some_command_with_words_about_it():
    options = {param.name: param for command in commands().values() for param in command.params}
    for key in KEYS:
        assert isinstance(options[key], click.Option), key
        assert options[key].help, key
        assert f"--{key.replace('_', '-')}" in options[key].opts


def test_every_setting_has_an_environment_variable_of_its_own():
    for name, command in commands().items():
        for param in command.params:
            if param.name in KEYS:
                variables = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar)
                assert variables[0] == f"INGEST_{param.name.upper()}", (name, param.name)


def test_options_default_to_the_settings_own_defaults():
    defaults = {setting.name: getattr(Settings(), setting.name) for setting in fields(Settings)}
    for command in commands().values():
        for param in command.params:
            if param.name in KEYS:
                assert param.default == defaults[param.name], param.name


@pytest.fixture
def catalog_of(tmp_path, monkeypatch):
    """Ask the real `ingest doctor` which catalog it looks for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INGEST_CONFIG", raising=False)
    nothing = {"INGEST_MODEL": str(tmp_path / "no model"), "INGEST_CATALOG": None, "MILVUS_TOKEN": None}

    def ask(*arguments: str, **environment: str) -> str:
        result = CliRunner().invoke(cli, ["doctor", "--json", *arguments], env={**nothing, **environment})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        findings = {finding["name"]: finding for finding in json.loads(result.stdout)}
        return findings["catalog"]["found"].removesuffix(": no such file or folder")

    return ask


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(tmp_path, catalog_of):
    assert catalog_of() == str(Path("data/products.csv"))
    written(tmp_path, 'catalog = "file.csv"')
    assert catalog_of() == "file.csv"
    assert catalog_of(INGEST_CATALOG="env.csv") == "env.csv"
    assert catalog_of("--catalog", "flag.csv", INGEST_CATALOG="env.csv") == "flag.csv"
    assert catalog_of("-c", "flag.csv") == "flag.csv"


def test_another_file_is_named_by_flag_or_environment(tmp_path, catalog_of):
    (tmp_path / "deep").mkdir()
    other = tmp_path / "deep" / "other.toml"
    other.write_text('catalog = "other.csv"')
    written(tmp_path, 'catalog = "file.csv"')
    assert catalog_of("--config", str(other)) == str(tmp_path / "deep" / "other.csv")
    assert catalog_of(INGEST_CONFIG=str(other)) == str(tmp_path / "deep" / "other.csv")
    assert catalog_of("--config", "ingest.toml", INGEST_CONFIG=str(other)) == "file.csv"


@pytest.mark.parametrize("name", [settings.FILE_NAME, "other.toml"])
def test_a_file_that_was_named_must_be_there(catalog_of, name):
    with pytest.raises(ConfigError, match="cannot be read"):
        catalog_of("--config", name)
    with pytest.raises(ConfigError, match="cannot be read"):
        catalog_of(INGEST_CONFIG=name)


@pytest.mark.parametrize("command", ["run", "embed", "export", "search", "doctor"])
def test_every_command_reads_the_file(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INGEST_CONFIG", raising=False)
    written(tmp_path, "batchsize = 3")
    result = CliRunner().invoke(cli, [command])
    assert isinstance(result.exception, ConfigError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# mine\nbatch_size = -1", "line 2: batch_size: -1 is not in the range 1<=x<=65536"),
        ("max_prune = 3", "line 1: max_prune: 3.0 is not in the range 0<=x<=1"),
        ('\n\ndtype = "int8"', "line 3: dtype: 'int8' is not one of"),
    ],
)
def test_a_value_out_of_bounds_is_told_with_the_line_it_stands_on(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INGEST_CONFIG", raising=False)
    result = CliRunner().invoke(cli, ["run", "--config", str(written(tmp_path, text))])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"{tmp_path / 'ingest.toml'} {said}")
    key = said.split(":")[1].strip()
    flagged = CliRunner().invoke(cli, ["run", f"--{key.replace('_', '-')}", "nothing"])
    assert (flagged.exit_code, f"'--{key.replace('_', '-')}'" in flagged.stderr) == (2, True), "a flag wins"
