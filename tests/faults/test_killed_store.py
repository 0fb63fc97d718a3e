"""`ingest store gc`, `compact` and `restore`, killed at any of their changes, lose no vector and leave nothing."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest
from support.bucket import IGNORED
from support.checkpoints import DIM
from support.forked import fork_server
from support.object_storage import BUCKET
from support.shop import COMMAND, TIMEOUT_S, environment_of

from faults.stocked import DAY_S, StockedShop, Vectors, halves, put_shards, stocked, vectors_below, vectors_in
from ingest.store.bucket import Bucket
from ingest.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.object_storage import Storage

pytestmark = IGNORED

SOAK = bool(os.environ.get("INGEST_SOAK"))
KILLS = {"compact": (6, 4), "gc": (6, 3), "restore": (3, 2)}
"""How often each command is killed, on a disk and on object storage; at length, at each of its changes."""
VERIFIED = 1 if SOAK else 3
"""Of so many kills, one is followed by `ingest verify` too; every vector is looked at after each."""
COMMANDS = {
    "compact": ["store", "compact", "--quiet"],
    "gc": ["store", "gc", "--quiet", "--yes", "--max-drop", "1"],
    "restore": ["store", "restore", "--quiet"],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path) -> StockedShop:
    return stocked(tmp_path_factory.mktemp("stocked") / "shop", tiny_clip)


class Expected:
    """Which vectors a store must have."""

    def __init__(self, shop: StockedShop) -> None:
        self.all = shop.vectors()
        in_use = {key for key in self.all if key in set(shop.keys(shop.numbers()))}
        self.in_use = {key: self.all[key] for key in in_use}
        self.unused = {key: self.all[key] for key in self.all.keys() - in_use}

    def check_killed(self, store: Vectors, trash: Vectors) -> None:
        """Nothing is lost or changed, whatever was under way."""
        assert trash | store == store | trash == self.all, "a vector is lost, or two copies differ"
        assert self.in_use.items() <= store.items()

    def check_ended(self, command: str, store: Vectors, trash: Vectors) -> None:
        """All is where the command puts it."""
        assert (store, trash) == ((self.in_use, self.unused) if command == "gc" else (self.all, {}))


def moments(count: int, kills: int) -> Sequence[int]:
    """Return which of so many moments to kill at: the first ones, where a shard is written, the last, and others."""
    if SOAK or count <= kills:
        return range(1, count + 1)
    first = kills // 3
    others = random.Random(count).sample(range(first + 1, count), kills - first - 1)
    return [*range(1, first + 1), *sorted(others), count]


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_on_a_disk(shop: StockedShop, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    template = shop.elsewhere(tmp_path / "template")
    if command == "restore":
        template.done(*COMMANDS["gc"])
    expected = Expected(shop)

    def started(number: int) -> StockedShop:
        victim = template.elsewhere(tmp_path / f"killed-{number}")
        before = [("faults.interference", "kill_at_change", [str(victim.store), number])]
        process = fork_server().start(
            [COMMAND, *COMMANDS[command]], victim.folder, environment_of({}), log=tmp_path / "log", before=before
        )
        assert process.wait(TIMEOUT_S) == (-signal.SIGKILL if number else 0), (tmp_path / "log").read_text()
        return victim

    changes = (started(0).folder / "changes").read_text().splitlines()
    killed = moments(len(changes), KILLS[command][0])
    for turn, number in enumerate(killed):
        victim = started(number)
        expected.check_killed(*on_disk(victim))
        victim.done(*COMMANDS[command])
        expected.check_ended(command, *on_disk(victim))
        assert not list(victim.store.rglob("*.tmp")), changes[number - 1]
        if turn % VERIFIED == 0:
            victim.done("verify")
        if command == "gc":
            victim.done(*COMMANDS["restore"])
            expected.check_ended("restore", *on_disk(victim))
    with capsys.disabled():
        print(f"\n{command} on a disk: {len(killed)} kills, {len(expected.all)} vectors", end="")  # noqa: T201


def on_disk(shop: StockedShop) -> tuple[Vectors, Vectors]:
    """Return the vectors of the store and of the trash."""
    space = shop.store / shop.fingerprint
    return vectors_in(LocalStore(space, DIM)), vectors_in(LocalStore(shop.store / "trash" / space.name, DIM))


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_on_object_storage(
    shop: StockedShop, storage: Storage, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    template = shop.elsewhere(tmp_path / "template")
    if command == "restore":
        template.done(*COMMANDS["gc"])
    expected = Expected(shop)
    bucket = Bucket(f"s3://{BUCKET}")
    spaces = [template.fingerprint, *([f"trash/{template.fingerprint}"] if command == "restore" else [])]

    def started(name: str, number: int) -> list[str]:
        """Kill the command at a moment of its changes: before the server gets one, or after it has done it."""
        for space in spaces:
            put_shards(template.store / space, bucket, f"{name}/{space}")
        storage.age(f"{name}/{template.fingerprint}", 8 * DAY_S)
        changes: list[str] = []

        def watch(request: str, served: bool) -> bool:
            if not request.startswith(("PUT", "DELETE")):
                return False
            changes.append(f"{'after' if served else 'before'} {request}")
            if len(changes) == number:
                process.kill()
            return 0 < number <= len(changes)

        storage.watch = watch
        process = template.started(*COMMANDS[command], "--store", f"s3://{BUCKET}/{name}")
        try:
            code = process.wait(TIMEOUT_S)
        finally:
            storage.watch = lambda _request, _served: False
        assert code == (-signal.SIGKILL if number else 0), process.communicate()
        return changes

    changes = started(f"{command}-0", 0)
    killed = moments(len(changes), KILLS[command][1])
    for turn, number in enumerate(killed):
        name = f"{command}-{number}"
        place = f"s3://{BUCKET}/{name}"
        at = started(name, number)[-1]
        expected.check_killed(*in_bucket(bucket, name, template.fingerprint))
        storage.age(name, 2 * DAY_S)
        template.done(*COMMANDS[command], "--store", place)
        expected.check_ended(command, *in_bucket(bucket, name, template.fingerprint))
        assert halves(bucket.list(name)) == [], at
        if turn % VERIFIED == 0:
            template.done("verify", "--store", place)
        if command == "gc" and turn % VERIFIED == 0:
            template.done(*COMMANDS["restore"], "--store", place)
            expected.check_ended("restore", *in_bucket(bucket, name, template.fingerprint))
    with capsys.disabled():
        print(f"\n{command} on S3: {len(killed)} kills, {len(expected.all)} vectors", end="")  # noqa: T201


def in_bucket(bucket: Bucket, store: str, fingerprint: str) -> tuple[Vectors, Vectors]:
    """Return the vectors of the store and of the trash."""
    return vectors_below(bucket, f"{store}/{fingerprint}"), vectors_below(bucket, f"{store}/trash/{fingerprint}")
