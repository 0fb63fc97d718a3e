"""The store of vectors: what it gives back, what it survives, and what it never lets through."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.forked import fork_server
from support.shop import wait_until
from support.stored import DIM, added, assert_holds, embedded, folders, key, picture, vector
from support.synced import noting_fsync

from ingest.core.errors import StorageError
from ingest.core.records import Embedded
from ingest.store import local, stage
from ingest.store.local import LocalStore
from ingest.store.shard_writer import ShardWriter

KILLS = 40 if os.environ.get("INGEST_SOAK") else 4


class Products(RuleBasedStateMachine):
    """Ids whose pictures change and are shared, through a store that knows pictures only."""

    ids = st.sampled_from("abcdef")
    pictures = st.integers(0, 7)

    @initialize(merge_at=st.sampled_from([2, 3, 32]))
    def begin(self, merge_at):
        import tempfile

        self.before = local.MERGE_AT
        local.MERGE_AT = merge_at
        self.folder = Path(tempfile.mkdtemp())
        self.store = LocalStore(self.folder / "store", DIM)
        self.shows: dict[str, int] = {}

    def teardown(self):
        if hasattr(self, "folder"):
            local.MERGE_AT = self.before
            shutil.rmtree(self.folder)

    @rule(product_id=ids, shown=pictures)
    def a_product_shows_a_picture(self, product_id, shown):
        self.shows[product_id] = shown

    @rule(batch=st.integers(1, 3))
    def a_run(self, batch):
        wanted = [picture(product_id, shown) for product_id, shown in self.shows.items()]
        known = list(stage.lookup(wanted, self.store))
        made = (r if isinstance(r, Embedded) else Embedded(r.product, r.sha256, self.vector_of(r)) for r in known)
        stored = list(stage.append(made, ShardWriter(self.store, batch)))
        assert [record.product.product_id for record in stored] == list(self.shows)
        for record in stored:
            np.testing.assert_array_equal(record.vector, vector(self.shows[record.product.product_id]))

    def vector_of(self, record):
        return vector(self.shows[record.product.product_id])

    @rule()
    def another_process_opens_it(self):
        self.store = LocalStore(self.folder / "store", DIM)

    @rule(torn=pictures)
    def a_vector_is_damaged(self, torn):
        for shard in (self.folder / "store").glob("[0-9]*"):
            rows = np.load(shard / "embeddings.npy")
            rows[(np.load(shard / "keys.npy") == np.frombuffer(key(torn), np.uint8)).all(axis=1)] *= 2
            np.save(shard / "embeddings.npy", rows)
        self.store = LocalStore(self.folder / "store", DIM)

    @invariant()
    def what_is_found_is_the_pictures_own_vector(self):
        if hasattr(self, "store"):
            for shown in range(8):
                found = self.store.find([key(shown)])[0]
                assert found is None or (found == vector(shown)).all()


TestProductsAndPictures = Products.TestCase
TestProductsAndPictures.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_what_was_added_is_there_when_opened_again(tmp_path):
    added(LocalStore(tmp_path, DIM), "a", "b")
    again = LocalStore(tmp_path, DIM)
    assert_holds(again, "a", "b")
    assert again.find([key("c")]) == [None]
    assert again.holds([key("a"), key("c")]) == [True, False]
    assert again.rows == 2


def test_a_folder_that_is_not_there_is_an_empty_store_and_is_not_made(tmp_path):
    store = LocalStore(tmp_path / "none", DIM)
    assert store.find([key("a")]) == [None]
    assert store.find([]) == []
    assert list(stage.append([], ShardWriter(store, 4))) == []
    assert not (tmp_path / "none").exists()


def test_a_key_that_comes_again_has_its_newest_vector(tmp_path):
    store = LocalStore(tmp_path, DIM)
    added(store, "a")
    store.add([key("a")], vector("new")[None])
    for each in (store, LocalStore(tmp_path, DIM)):
        np.testing.assert_array_equal(each.find([key("a")])[0], vector("new"))


def test_many_small_shards_become_one_and_nothing_is_lost(tmp_path):
    store = LocalStore(tmp_path, DIM)
    for number in range(100):
        added(store, number, f"{number} too")
    assert len(folders(store)) < local.MERGE_AT
    words = [*range(100), *(f"{number} too" for number in range(100))]
    assert_holds(store, *words)
    assert_holds(LocalStore(tmp_path, DIM), *words)
    assert store.rows == 200


def test_a_full_shard_is_never_rewritten(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "FULL_SHARD_ROWS", 3)
    monkeypatch.setattr(local, "MERGE_AT", 2)
    store = LocalStore(tmp_path, DIM)
    added(store, 1, 2, 3)
    before = (tmp_path / "00000001" / "embeddings.npy").stat()
    for number in range(4, 10):
        added(store, number)
    assert (tmp_path / "00000001" / "embeddings.npy").stat() == before
    assert_holds(store, *range(1, 10))


def test_merging_does_not_bring_a_damaged_row_back_over_the_good_one(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "FULL_SHARD_ROWS", 2)
    store = LocalStore(tmp_path, DIM)
    store.add([key("a")], 2 * vector("a")[None])
    added(store, "a", "b")
    monkeypatch.setattr(local, "MERGE_AT", 2)
    added(store, "c")
    assert len(folders(store)) == 2
    assert_holds(store, "a", "b", "c")
    assert_holds(LocalStore(tmp_path, DIM), "a", "b", "c")


def test_a_damaged_row_that_a_merge_leaves_out_is_not_held_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "MERGE_AT", 2)
    store = LocalStore(tmp_path, DIM)
    store.add([key("a"), key("b")], np.stack([2 * vector("a"), vector("b")]))
    added(store, "c")
    assert folders(store) == ["00000003"]
    assert store.holds([key("a"), key("b"), key("c")]) == [False, True, True]


def test_two_sound_shards_become_one_and_a_single_one_stays_as_it_is(tmp_path):
    store = LocalStore(tmp_path, DIM)
    added(store, "a")
    added(store, "b")
    for expected in (["00000003"], ["00000003"]):
        store.rewrite(folders(store), lambda keys: np.ones(len(keys), bool))
        assert folders(store) == expected
        assert_holds(store, "a", "b")


def test_shards_whose_every_row_was_written_again_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "FULL_SHARD_ROWS", 2)
    store = LocalStore(tmp_path, DIM)
    added(store, "a")
    added(store, "b")
    monkeypatch.setattr(local, "MERGE_AT", 2)
    added(store, "a", "b")
    assert folders(store) == ["00000003"]
    assert_holds(store, "a", "b")
    assert_holds(LocalStore(tmp_path, DIM), "a", "b")


def test_a_kill_between_merging_and_removing_leaves_both_and_loses_nothing(tmp_path, monkeypatch):
    store = LocalStore(tmp_path, DIM)
    monkeypatch.setattr(local.shard_folders, "remove", lambda *_: None)
    for number in range(40):
        added(store, number)
    assert len(folders(store)) > local.MERGE_AT
    assert_holds(LocalStore(tmp_path, DIM), *range(40))


@pytest.mark.parametrize(
    "damage",
    [
        lambda shard: (shard / "keys.npy").unlink(),
        lambda shard: (shard / "embeddings.npy").unlink(),
        lambda shard: (shard / "keys.npy").write_bytes(b""),
        lambda shard: (shard / "embeddings.npy").write_bytes(b""),
        lambda shard: (shard / "embeddings.npy").write_bytes((shard / "embeddings.npy").read_bytes()[:-1]),
        lambda shard: (shard / "keys.npy").write_bytes((shard / "keys.npy").read_bytes()[:-1]),
        lambda shard: (shard / "embeddings.npy").write_bytes(b"not numpy's"),
        lambda shard: (shard / "embeddings.npy").write_bytes(b"PK\x03\x04 not a zip"),
        lambda shard: np.save(shard / "embeddings.npy", np.zeros((2, DIM))),
        lambda shard: np.save(shard / "embeddings.npy", np.zeros((2, DIM + 1), np.float32)),
        lambda shard: np.save(shard / "embeddings.npy", np.zeros((3, DIM), np.float32)),
        lambda shard: np.save(shard / "embeddings.npy", np.float32(1)),
        lambda shard: np.save(shard / "keys.npy", np.zeros((2, 16), np.uint8)),
        lambda shard: np.save(shard / "keys.npy", np.array([{"a": 1}, {}], dtype=object), allow_pickle=True),
    ],
)
def test_a_damaged_shard_is_left_out_with_a_warning_and_ends_nothing(tmp_path, caplog, damage):
    store = LocalStore(tmp_path, DIM)
    added(store, "a", "b")
    added(store, "c")
    damage(tmp_path / "00000001")
    with caplog.at_level(logging.WARNING, "ingest"):
        again = LocalStore(tmp_path, DIM)
    assert again.find([key("a"), key("b")]) == [None, None]
    assert_holds(again, "c")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{tmp_path / '00000001'}: left out")
    assert "\n" not in caplog.messages[0]
    assert (tmp_path / "00000001").is_dir(), "one that only reads changes nothing"
    added(again, "a", "b")
    assert_holds(again, "a", "b", "c")
    caplog.clear()
    assert_holds(LocalStore(tmp_path, DIM), "a", "b", "c")
    assert caplog.messages == [], "it is told once"


@pytest.mark.parametrize("factor", [np.nan, np.inf, 0, 1.01, -2])
def test_a_row_that_is_not_of_unit_length_is_not_given_out_and_is_written_anew(tmp_path, factor):
    store = LocalStore(tmp_path, DIM)
    store.add([key("a"), key("b")], np.stack([np.float32(factor) * vector("a"), vector("b")]))
    assert store.find([key("a")]) == [None]
    assert_holds(store, "b")
    list(stage.append([embedded("p", "a")], ShardWriter(store, 1)))
    assert_holds(LocalStore(tmp_path, DIM), "a", "b")


def test_what_a_killed_writer_left_aside_is_not_read_and_is_swept_by_the_next_writer(tmp_path):
    store = LocalStore(tmp_path, DIM)
    added(store, "a")
    shutil.copytree(tmp_path / "00000001", tmp_path / ".00000002.tmp")
    again = LocalStore(tmp_path, DIM)
    assert again.rows == 1
    assert folders(again) == [".00000002.tmp", "00000001"], "a reader removes nothing"
    added(again, "b")
    assert folders(again) == ["00000001", "00000002"]


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    for name in ("README", ".notes.tmp"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "notes").mkdir()
    store = LocalStore(tmp_path, DIM)
    added(store, "a")
    assert_holds(LocalStore(tmp_path, DIM), "a")


def test_vectors_of_another_dim_are_refused_before_anything_is_written(tmp_path):
    store = LocalStore(tmp_path / "store", DIM)
    with pytest.raises(ValueError, match="dim is 8"):
        store.add([key("a")], np.zeros((1, DIM + 1), np.float32))
    assert not (tmp_path / "store").exists()


def test_a_disk_that_fails_while_writing_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    store = LocalStore(tmp_path, DIM)
    added(store, "a")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageError) as caught:
        patch.setattr("os.fsync", full)
        added(store, "b")
    assert str(caught.value) == f"{tmp_path}: cannot be written (No space left on device); make room or set --data"
    assert folders(store) == ["00000001"]
    added(store, "b")
    assert_holds(store, "a", "b")


def test_both_files_and_the_names_of_a_shard_are_fsynced(tmp_path):
    with noting_fsync() as synced:
        added(LocalStore(tmp_path, DIM), "a", "b")
    shard = tmp_path / "00000001"
    for path in (shard / "keys.npy", shard / "embeddings.npy"):
        assert synced[path.stat().st_ino] == path.stat().st_size
    assert {shard.stat().st_ino, tmp_path.stat().st_ino} <= synced.keys()


WRITER = """
import hashlib, sys
from pathlib import Path
import numpy as np
from ingest.store import local
from ingest.store.local import LocalStore

local.MERGE_AT = 4
store = LocalStore(Path(sys.argv[1]), 8)
number = int(sys.argv[2])
while True:
    keys = [hashlib.sha256(str(word).encode()).digest() for word in (number, number + 1)]
    store.add(keys, np.full((2, 8), 8**-0.5, np.float32))
    number += 2
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_loses_nothing_it_acknowledged(tmp_path, caplog):
    rng = np.random.default_rng()
    acknowledged = 0
    for _ in range(KILLS):
        command = ["-c", WRITER, str(tmp_path / "store"), str(acknowledged)]
        writer = fork_server().start(command, tmp_path, os.environ, log=tmp_path / "told")
        wait_until(lambda: (tmp_path / "told").stat().st_size > 0, writer)
        time.sleep(rng.uniform(0, 0.1))
        writer.kill()
        writer.wait()
        whole = [int(line) for line in (tmp_path / "told").read_text().splitlines()]
        assert whole, "the writer must have begun"
        acknowledged = whole[-1]
        store = LocalStore(tmp_path / "store", 8)
        assert all(store.holds([key(number) for number in range(acknowledged)]))
        assert all(found is not None for found in store.find([key(number) for number in range(acknowledged)]))
    assert caplog.messages == []


FEW_DESCRIPTORS = """
import hashlib, os, resource, sys
from pathlib import Path
import numpy as np
from ingest.core.errors import StorageError
from ingest.store import local
from ingest.store.local import LocalStore

local.FULL_SHARD_ROWS = 1
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
keys = [hashlib.sha256(str(word).encode()).digest() for word in range(300)]
rows = np.eye(300, dtype=np.float32)
store = LocalStore(Path(sys.argv[1]), 300)
for at in range(0, 300, 2):
    store.add(keys[at : at + 2], rows[at : at + 2])
for _ in range(2):
    assert store.rows == 300
    assert (np.stack(store.find(keys)) == rows).all()
    assert all((store.find([key])[0] == row).all() for key, row in zip(keys, rows))
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    for use in (lambda: store.find(keys), lambda: LocalStore(Path(sys.argv[1]), 300)):
        try:
            use()
        except StorageError as error:
            print(error)
    for descriptor in held:
        os.close(descriptor)
    assert (np.stack(store.find(keys)) == rows).all()
    store = LocalStore(Path(sys.argv[1]), 300)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_store_of_many_shards_takes_few_descriptors_and_for_want_of_them_embeds_nothing_again(tmp_path):
    command = [sys.executable, "-c", FEW_DESCRIPTORS, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert len(said) >= 2
    assert all("cannot be read (Too many open files)" in line for line in said)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EIO])
def test_a_shard_that_cannot_be_opened_for_the_systems_reasons_ends_the_run_and_is_not_left_out(
    tmp_path, monkeypatch, caplog, number
):
    added(LocalStore(tmp_path, DIM), "a")

    def failing(path: Path, *_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch, pytest.raises(StorageError) as caught:
        patch.setattr(Path, "open", failing)
        LocalStore(tmp_path, DIM)
    assert str(caught.value).startswith(f"{tmp_path / '00000001'}: cannot be read ({os.strerror(number)}); ")
    assert caplog.messages == []
    assert_holds(LocalStore(tmp_path, DIM), "a")


def test_a_reader_finds_what_another_process_merges_while_it_reads(tmp_path, monkeypatch):
    writer = LocalStore(tmp_path, DIM)
    added(writer, "a")
    added(writer, "b")
    reader = LocalStore(tmp_path, DIM)
    monkeypatch.setattr(local, "MERGE_AT", 3)
    added(writer, "c")
    assert len(folders(writer)) == 1
    assert_holds(reader, "a", "b")


def test_rows_are_counted_while_others_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "MERGE_AT", 4)
    store = LocalStore(tmp_path, DIM)
    with ThreadPoolExecutor(4) as threads:
        for word in range(40):
            adding = threads.submit(added, store, word)
            finding = [threads.submit(assert_holds, store, *range(word)) for _ in range(3)]
            assert store.rows in {word, word + 1}
            for each in (adding, *finding):
                each.result()
    assert_holds(LocalStore(tmp_path, DIM), *range(40))
