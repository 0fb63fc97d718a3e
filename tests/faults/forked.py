"""Runs of the command line that are disturbed: killed in a phase, or meddled with by somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.forked import fork_server
from support.shop import COMMAND, TIMEOUT_S, environment_of

if TYPE_CHECKING:
    from pathlib import Path

_DISTURBING = "faults.interference"


class Forked:
    """Runs commands one after the other; what one says is in `command.log` in its folder."""

    def run(
        self,
        folder: Path,
        *arguments: str,
        kill: tuple[str, int, float] | None = None,
        meddle: tuple[str, int, str, str, str] | None = None,
        shard_rows: int = 0,
    ) -> int:
        """Run to the end, or into a kill: at which entry of which phase, and how many seconds later.

        `meddle` is what somebody else does meanwhile: at which entry of which phase, what, to which server and alias.
        With `shard_rows`, a shard has so many vectors. Returns the exit code, -9 for killed.
        """
        before: list[tuple[str, str, tuple[Any, ...]]] = [(_DISTURBING, "count_embedded", ())]
        before += [(_DISTURBING, "store_small_shards", (shard_rows,))] if shard_rows else []
        before += [(_DISTURBING, "kill", kill)] if kill else []
        before += [(_DISTURBING, "meddle", meddle)] if meddle else []
        log = folder / "command.log"
        command = [COMMAND, *arguments]
        return fork_server().start(command, folder, environment_of({}), log=log, before=before).wait(5 * TIMEOUT_S)
