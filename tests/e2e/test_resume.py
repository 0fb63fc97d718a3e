"""A run that is stopped at any moment, in any way, goes on by being run again, and nothing is embedded twice."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

from support.shop import BATCH, TIMEOUT_S, Shop, embedded, sample_products, spied, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.forked import Running

    from e2e.conftest import Finished

PRODUCTS = 40
KILLS = 8


def test_a_run_killed_at_random_moments_ends_as_one_never_disturbed(
    new_shop: Shop, finished: Finished, tmp_path: Path
) -> None:
    log = tmp_path / "embedded"
    chance = random.Random(20)
    new_shop.stock(sample_products(PRODUCTS))

    kills = sum(killed(new_shop, chance, spied(log, pause_s=0.1)) for _ in range(KILLS))
    new_shop.run(**spied(log))

    assert kills >= KILLS / 2, "the runs were over before they were killed"
    assert embedded(log) <= PRODUCTS + kills * 2 * BATCH, "what the model works on, and what is being written"
    assert new_shop.exports == finished.shop.exports
    assert new_shop.digests() == finished.shop.digests()
    assert [row["embedding"] for row in new_shop.rows().values()] == [
        row["embedding"] for row in finished.shop.rows().values()
    ]


def killed(shop: Shop, chance: random.Random, environment: dict[str, str]) -> bool:
    """Kill a run shortly after it has written a few more batches, or anywhere in its beginning."""
    batches, delay = chance.choice([0, 1, 1, 2]), chance.uniform(0, 0.1)
    delay = delay if batches else chance.uniform(0, 1)
    before = shop.stored()
    process = shop.started("run", **environment)
    if batches:
        wait_until(lambda: shop.stored() >= before + batches * BATCH, process)
    deadline = time.monotonic() + delay
    wait_until(lambda: time.monotonic() >= deadline, process)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_a_run_killed_while_it_writes_to_milvus_goes_on(new_shop: Shop, finished: Finished, tmp_path: Path) -> None:
    """The rows are sent after the last batch, so this is where the store is full and the collection is not."""
    log = tmp_path / "embedded"
    new_shop.stock(sample_products(PRODUCTS))
    process = new_shop.started("run", **spied(log))
    wait_until(lambda: new_shop.stored() >= PRODUCTS, process)
    process.kill()
    process.communicate()

    summary = new_shop.run(**spied(log))

    assert summary["embedded"] == 0
    assert embedded(log) == PRODUCTS
    assert new_shop.exports == finished.shop.exports
    assert new_shop.digests() == finished.shop.digests()


def test_ctrl_c_finishes_what_is_in_flight_and_the_next_run_goes_on(
    new_shop: Shop, finished: Finished, tmp_path: Path
) -> None:
    log = tmp_path / "embedded"

    code, out, err = interrupted(new_shop, signal.SIGINT, log)

    assert (code, out) == (130, "")
    assert "finishing the work in progress" in err
    assert "run the same command again to go on" in err.splitlines()[-1]
    before = embedded(log)
    assert 2 * BATCH <= before < PRODUCTS
    assert f"{before} embedded and {before} upserted are kept" in err
    assert len(new_shop.unserved_rows()) == before, "what was in flight is in the collection"

    summary = new_shop.run(**spied(log))
    assert summary["embedded"] == PRODUCTS - before
    assert embedded(log) == PRODUCTS
    assert new_shop.exports == finished.shop.exports
    assert new_shop.digests() == finished.shop.digests()


def test_sigterm_is_like_ctrl_c(new_shop: Shop, tmp_path: Path) -> None:
    log = tmp_path / "embedded"

    code, _, err = interrupted(new_shop, signal.SIGTERM, log)

    assert code == 130
    assert f"{embedded(log)} upserted are kept; run the same command again to go on" in err.splitlines()[-1]
    assert len(new_shop.unserved_rows()) == embedded(log)


def interrupted(shop: Shop, number: signal.Signals, log: Path) -> tuple[int, str, str]:
    """Send a signal when two batches are stored; return exit code, stdout and stderr."""
    shop.stock(sample_products(PRODUCTS))
    process = shop.started("run", **spied(log, pause_s=0.2))
    wait_until(lambda: shop.stored() >= 2 * BATCH, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err


def test_a_second_signal_stops_at_once_and_the_next_run_goes_on(
    new_shop: Shop, finished: Finished, tmp_path: Path
) -> None:
    log = tmp_path / "embedded"
    new_shop.stock(sample_products(PRODUCTS))
    process = new_shop.started("run", **spied(log, pause_s=30))
    wait_until(lambda: embedded(log) > 0, process)

    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 130
    assert time.monotonic() - started < 5, "it waited for the batch in flight"
    assert "stopped at once" in err
    lost = embedded(log)
    assert lost <= BATCH
    new_shop.run(**spied(log))
    assert embedded(log) == PRODUCTS + lost
    assert new_shop.exports == finished.shop.exports


def test_exports_made_of_half_a_run_are_made_whole_by_the_next(
    new_shop: Shop, finished: Finished, tmp_path: Path
) -> None:
    new_shop.stock(sample_products(PRODUCTS))
    process = new_shop.started("run", **spied(tmp_path / "embedded", pause_s=0.1))
    wait_until(lambda: new_shop.stored() >= 2 * BATCH, process)
    process.kill()
    process.communicate()
    ended = new_shop.ingest("export")
    assert ended.code == 0
    assert "have no vector yet" in ended.out

    new_shop.run()

    assert new_shop.exports == finished.shop.exports


def test_a_run_that_holds_the_data_is_told_to_the_next_with_its_process(new_shop: Shop, tmp_path: Path) -> None:
    new_shop.stock(sample_products(BATCH))
    process: Running = new_shop.started("run", **spied(tmp_path / "embedded", pause_s=30))
    wait_until((new_shop.data / ".lock.pid").is_file, process)
    wait_until(lambda: bool((new_shop.data / ".lock.pid").read_text(encoding="ascii")), process)

    ended = new_shop.ingest("run")
    process.kill()
    process.communicate()

    assert ended.code == 8
    assert f"process {process.pid}" in ended.said[0]


def test_a_lite_file_is_held_by_one_run_whatever_its_data_folder_and_free_after_a_kill(
    new_shop: Shop, tmp_path: Path
) -> None:
    new_shop.stock(sample_products(BATCH))
    lite = tmp_path / "both.db"
    process = new_shop.started(
        "run", "--uri", lite, "--data", tmp_path / "one", **spied(tmp_path / "embedded", pause_s=30)
    )
    wait_until((tmp_path / ".both.db.lock.pid").is_file, process)
    wait_until(lambda: bool((tmp_path / ".both.db.lock.pid").read_text(encoding="ascii")), process)
    other = ("run", "--uri", lite, "--data", tmp_path / "two")

    ended = new_shop.ingest(*other)
    process.kill()
    process.communicate()

    assert (ended.code, len(ended.said)) == (8, 1)
    assert f"both.db: another command (process {process.pid}) holds it" in ended.said[0]
    assert new_shop.run(*other[1:])["upserted"] == BATCH, "what the killed run held is taken over"
