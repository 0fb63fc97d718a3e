"""Values of keywords: checked, and turned into what the settings have."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.api import functions
from ingest.api.keyword_settings import settings_of
from ingest.core.errors import ConfigError
from ingest.core.settings import Settings


def read(**given) -> Settings:
    return settings_of(functions.RUN.read(given))


def test_what_is_left_out_has_its_default():
    assert read() == Settings()


def test_paths_may_be_texts_or_paths_and_urls_stay_texts():
    assert read(catalog="a.csv", data="d", store="s") == Settings(catalog=Path("a.csv"), data=Path("d"), store="s")
    assert read(catalog=Path("a.csv")) == Settings(catalog=Path("a.csv"))
    assert read(catalog="s3://b/c", store="s3://b/s") == Settings(catalog="s3://b/c", store="s3://b/s")
    assert read(data="~/d", store="~/s").data == Path("~/d").expanduser()
    assert read(store="~/s").store == str(Path("~/s").expanduser())
    assert read(uri=Path("x/milvus.db"), model=Path("m")) == Settings(uri="x/milvus.db", model="m")


def test_lists_and_numbers_become_what_a_flag_would_say():
    found = read(allow_host=["a", "b"], device=("cuda:0", "cuda:1"), actors=4, max_skipped=50)
    assert found == Settings(allow_host="a,b", device="cuda:0,cuda:1", actors="4", max_skipped="50")


def test_numbers_of_numpy_are_numbers():
    found = read(batch_size=np.int64(8), max_prune=np.float32(0.5), max_wait=5)
    assert (type(found.batch_size), type(found.max_prune), found.max_wait) == (int, float, 5.0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("batch_size", 0, "batch_size is 0; give a whole number from 1 to 65,536 or 'auto'"),
        ("batch_size", "many", "batch_size is 'many'; give a whole number from 1 to 65,536 or 'auto'"),
        ("batch_size", True, "batch_size is True; give"),
        ("download_workers", 2.5, "download_workers is 2.5; give a whole number from 1 to 1,024"),
        ("download_workers", 10**9, "give a whole number from 1 to 1,024"),
        ("max_prune", 2, "max_prune is 2; give a number from 0 to 1"),
        ("max_wait", float("nan"), "max_wait is nan; give a number of at least 0"),
        ("dtype", "int8", "dtype is 'int8'; give 'auto' or 'bfloat16' or 'float16' or 'float32'"),
        ("prune", 1, "prune is 1; give True or False"),
        ("catalog", 7, "catalog is 7; give a path or a URL"),
        ("catalog", [{"product_id": 1}], "catalog is of type list; give a path or a URL"),
        ("uri", "", None),
        ("uri", 7, "uri is 7; give an address or the path of a Milvus Lite file"),
        ("uri", ["http://me:s3cr3t@h"], "uri is of type list"),
        ("token", 1234567, "token is of type int; give a text"),
        ("store", b"x", "store is of type bytes; give a path or a URL"),
        ("schema", None, "schema is None; give a path"),
        ("images_root", None, None),
        ("allow_host", [1], "allow_host is of type list; give a text or a list of texts"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_would(name, value, said):
    if said is None:
        read(**{name: value})
        return
    with pytest.raises(ConfigError) as raised:
        read(**{name: value})
    assert said in str(raised.value)
    assert "s3cr3t" not in str(raised.value)
    assert "1234567" not in str(raised.value)


@pytest.mark.parametrize(("name", "hint"), [("catalogue", "; did you mean 'catalog'?"), ("zzz", "")])
def test_a_keyword_that_does_not_exist_is_met_with_the_one_that_does(name, hint):
    with pytest.raises(TypeError) as raised:
        read(**{name: "x"})
    assert str(raised.value) == f"run() got an unexpected keyword argument {name!r}{hint}"


def test_a_settings_file_is_read_only_if_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ingest.toml").write_text('model = "m"\nbatch_size = 4\nhost = "127.0.0.1"\ndata = "d"\n')
    assert read() == Settings()
    assert read(config="ingest.toml") == Settings(model="m", batch_size=4, data=Path("d"))
    assert read(config=tmp_path / "ingest.toml", batch_size=8, data="e").batch_size == 8


def test_what_is_no_setting_is_not_read_from_the_file(tmp_path):
    (tmp_path / "ingest.toml").write_text("sample = 3\nprune = true\n")
    assert functions.VERIFY.read({"config": tmp_path / "ingest.toml"}) == {"prune": True}
    assert functions.VERIFY.read({"config": tmp_path / "ingest.toml", "sample": 5}) == {"prune": True, "sample": 5}


def test_environment_variables_are_not_read(monkeypatch):
    monkeypatch.setenv("INGEST_MODEL", "m")
    monkeypatch.setenv("MILVUS_URI", "http://elsewhere:19530")
    assert read() == Settings()


def test_a_value_of_the_file_that_does_not_fit_is_named_with_its_line(tmp_path):
    path = tmp_path / "ingest.toml"
    path.write_text('model = "m"\ndownload_workers = 0\n')
    with pytest.raises(ConfigError, match=r"ingest.toml line 2: download_workers is 0; give a whole number from 1"):
        read(config=path)


@given(
    st.sampled_from(sorted(functions.RUN.hints)), st.none() | st.booleans() | st.integers() | st.floats() | st.text()
)
def test_whatever_is_given_makes_settings_or_one_line_that_names_the_keyword(name, value):
    hypothesis.assume(name != "config" or value is None)
    said = ""
    try:
        read(**{name: value})
    except ConfigError as error:
        said = str(error)
    assert not said or (said.startswith(f"{name} is ") and said.isprintable())
