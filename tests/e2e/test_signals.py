"""From the first line of a command on, one signal ends it with its documented code, at whatever moment it comes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from support.service import serving
from support.shop import COMMAND, TIMEOUT_S, environment_of, sample_products

from ingest.cli.interrupts import SIGNALS
from ingest.core.errors import VerificationError

if TYPE_CHECKING:
    from support.shop import Shop

MOMENTS, STARTS, SERVICES = (300, 40, 20) if os.environ.get("INGEST_SOAK") else (42, 8, 3)
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": (), "plan": (), "embed": (), "export": (), "fetch": (), "search": ("red mug",), "recommend": ("P0001",),
    "evaluate": ("--queries", "5", "--k", "3"), "status": (), "verify": (), "doctor": (), "collections": (),
    "store": ("info",), "serve": ("--port", "0"),
}  # fmt: skip
LONGEST_S = {"run": 2.0, "embed": 1.0, "serve": 2.0, "search": 1.0}
"""How long a command may take when it starts with everything imported, if that is more than half a second."""
WORK = {"run", "embed", "export", "fetch", "plan", "verify"}
"""Commands that finish what is in flight; if that was the last of it, all is done, and they exit with 0: `verify` with
its own code where a run before was interrupted."""


def check(command: str, code: int, err: str) -> bool:
    """Check how a command ended that got a signal; return whether that interrupted it."""
    if code == 0 or (command, code) == ("verify", VerificationError.exit_code):
        assert "run the same command again" not in err
        assert command in WORK or "finishing the work in progress" not in err
        return False
    assert code == 130, (command, code, err)
    last = err.splitlines()[-1]
    assert last.startswith("ingest: "), (command, err)
    assert "interrupted" in last or "stopped at once" in last, (command, err)
    assert "Traceback" not in err
    return True


def restock(shop: Shop, number: int) -> None:
    """Change prices and an image, so that a run has something to embed and to write."""
    products = sample_products(40)
    for product in products[number % 8 :: 8]:
        product["price"] = f"{number + 1}.50"
    products[number % 40]["image"] = f"images/P{100 + number % 100:04d}.jpg"
    shop.stock(products)


def test_a_signal_at_any_moment_ends_any_command_and_loses_nothing(shop: Shop) -> None:
    chance = random.Random(18)
    interrupted = 0
    for number in range(MOMENTS):
        restock(shop, number)
        command = list(COMMANDS)[number % len(COMMANDS)]
        process = shop.started(command, *COMMANDS[command])
        time.sleep(chance.uniform(0, LONGEST_S.get(command, 0.5)))
        process.send_signal(chance.choice(SIGNALS))
        _, err = process.communicate(TIMEOUT_S)
        interrupted += check(command, process.wait(), err)

    assert interrupted > MOMENTS / 4, "most were over before their signal came"
    shop.run()
    assert shop.ingest("verify").code == 0


def test_a_signal_while_the_program_starts_and_imports_ends_it(shop: Shop) -> None:
    """They are held back until the first line of the command: before it, Python itself has the word."""
    chance = random.Random(8)
    interrupted = 0
    for number in range(STARTS):
        command = ("run", "search", "evaluate", "doctor")[number % 4]
        process = subprocess.Popen(
            [COMMAND, command, *COMMANDS[command]], cwd=shop.folder, env=environment_of({}), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS),  # noqa: PLW1509
        )  # fmt: skip
        time.sleep(chance.uniform(0, 1))
        process.send_signal(chance.choice(SIGNALS))
        _, err = process.communicate(timeout=TIMEOUT_S)
        interrupted += check(command, process.returncode, err)
    assert interrupted > STARTS / 2, "they were over before their signal came"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_service_that_has_just_said_where_it_serves_is_ended_well_by_a_signal(
    shop: Shop, number: signal.Signals
) -> None:
    for _ in range(SERVICES):
        with serving(shop) as service:
            service.process.send_signal(number)
            assert service.process.wait(TIMEOUT_S) == 0
            assert service.log.read_text(encoding="utf-8").splitlines()[-1].startswith("ingest: serving at ")


def test_a_signal_while_a_token_is_taken_off_the_command_line_is_kept(shop: Shop) -> None:
    """The command starts itself again without the token; a signal in between reaches the second one."""
    for delay in (0.0, 0.05, 0.1, 0.2):
        process = shop.started("search", "red mug", "--token", "s3cret-of-nobody", "--uri", "http://127.0.0.1:9")
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(TIMEOUT_S)
        assert check("search", process.wait(), err)
