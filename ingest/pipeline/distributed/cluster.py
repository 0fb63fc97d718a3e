"""Ray: a cluster to work on, and blocks put through its Data library until every one has come back."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ConfigError, EngineError
from ingest.pipeline.distributed.blocks import Done, Failure, at_fault, halves
from ingest.pipeline.distributed.workers import Embedder, Upserter, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ingest.core.settings import Settings
    from ingest.pipeline.distributed.blocks import Block
    from ingest.pipeline.distributed.workers import Job
    from ingest.runtime.hash_index import SortedKeys

KILLS = 3
"""So often may a block take its worker with it before it is split."""
_FETCH_CPUS, _EMBED_CPUS, _UPSERT_CPUS = 0.25, 0.5, 0.1  # all three fit on one core, so that no cluster is too small
_COLUMN = "block"
_IDLE_ACTORS = "The minimum number of concurrent actors"  # a warning of fewer blocks, as after a node was lost


@dataclass(frozen=True, slots=True)
class ActorPool:
    """How much of a cluster a run takes: embedding actors from `fewest` to `most`, and what each wants."""

    fewest: int
    most: int
    gpus: float
    upserts: int

    @classmethod
    def of(cls, settings: Settings) -> ActorPool:
        """Return what the settings say; raises ConfigError where `actors` is neither N nor MIN,MAX."""
        parts = settings.actors.replace(" ", "").split(",")
        numbers = [int(part) for part in parts if part.isascii() and part.isdecimal()]
        if len(numbers) != len(parts) or len(parts) > 2 or not 1 <= numbers[0] <= numbers[-1]:
            raise ConfigError(f"--actors {settings.actors}: a number of actors, or the fewest and the most: 1,8")
        return cls(numbers[0], numbers[-1], settings.gpus_per_actor, settings.upsert_parallelism)


@contextmanager
def connect(address: str) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one on this machine for `local`; one that is there already serves.

    Raises EngineError where Ray is not installed or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own lines would stand between ours
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(f"--engine ray: Ray is not installed ({error}); pip install 'ingest[ray]'") from error
    if ray.is_initialized():
        yield
        return
    told = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # ConnectionError, RuntimeError, TimeoutError, and gRPC's own
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise EngineError(f"--address {address}: no Ray cluster can be had there ({said}); see ray status") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, told)  # Ray has put its own, which would end the run in the middle
    try:
        yield
    finally:
        ray.shutdown()


def run_blocks(blocks: Iterable[Block], job: Job, known: SortedKeys, pool: ActorPool, stop: threading.Event,
           *, upserting: bool) -> Iterator[Done]:  # fmt: skip
    """Put blocks through the stages on the cluster; yield each as it comes back, in any order, and none twice.

    A block that is lost `KILLS` times over with its worker is split, until the one product to blame stands alone.
    Raises what a worker raised, and EngineError where nothing comes back at all.
    """
    import ray

    shared = ray.put(known)
    todo = dict(enumerate(_tables(blocks)))
    alone = False
    while todo and not stop.is_set():
        lost = dict(todo)
        dataset = _dataset(list(todo.values()), job, shared, pool, upserting=upserting, alone=alone)
        for number, done in _results(dataset):
            if lost.pop(number, None) is not None:
                yield done
            if stop.is_set():
                return
        if not alone and len(lost) == len(todo) > 2:
            raise EngineError(
                f"--engine ray: none of {len(lost)} blocks came back; are ingest, its catalog and its model on every "
                "node under the same paths? Ray's logs say more: /tmp/ray/session_latest/logs"
            )
        pieces: list[Block] = []
        for reference in lost.values():
            block: Block = _content(ray.get(reference))
            if len(block) == 1 and alone:
                yield at_fault(block[0], KILLS)
            else:
                pieces.extend(halves(block))
        todo = dict(enumerate(_tables(pieces)))
        alone = True


def _tables(blocks: Iterable[Block]) -> Iterator[Any]:
    """Put each block into Ray's object store, which spills to disk, as a table of one row: what Ray Data reads."""
    import ray

    for number, block in enumerate(blocks):
        yield ray.put(_table(number, block))


def _dataset(tables: Sequence[Any], job: Job, known: Any, pool: ActorPool, *, upserting: bool, alone: bool) -> Any:
    """Lay out the stages; `alone` gives an actor one block at a time, so that no other is lost with it."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # what is lost is put through again, by us
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", _IDLE_ACTORS)  # for good: it comes on a thread of Ray's
    dying = {"max_restarts": -1, "max_task_retries": KILLS - 1}
    in_flight = {"max_tasks_in_flight_per_actor": 1} if alone else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray 2.60: max_retries and the like are deprecated, and have no successor yet
        dataset = ray.data.from_arrow_refs(tables).map_batches(
            _stage(lambda block: prepare(block, job, ray.get(known))),
            batch_size=1, batch_format="pyarrow", num_cpus=_FETCH_CPUS, max_retries=KILLS - 1,
        )  # fmt: skip
        dataset = dataset.map_batches(
            _Actor, fn_constructor_args=(Embedder, job), batch_size=1, batch_format="pyarrow",
            num_cpus=0 if pool.gpus else _EMBED_CPUS, num_gpus=pool.gpus or None,
            compute=ActorPoolStrategy(
                min_size=min(pool.fewest, len(tables)), max_size=min(pool.most, len(tables)), **in_flight
            ), **dying,
        )  # fmt: skip
        if upserting:
            dataset = dataset.map_batches(
                _Actor, fn_constructor_args=(Upserter, job), batch_size=1, batch_format="pyarrow",
                num_cpus=_UPSERT_CPUS,
                compute=ActorPoolStrategy(min_size=1, max_size=pool.upserts, **in_flight), **dying,
            )  # fmt: skip
    return dataset


def _results(dataset: Any) -> Iterator[tuple[int, Done]]:
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row, number in enumerate(table["number"].to_pylist()):
            result = _content(table, row)
            if isinstance(result, Failure):
                result.error.add_note(result.trace)
                raise result.error
            yield number, result


class _Actor:
    """A stage with a state, in an actor."""

    def __init__(self, kind: Callable[[Job], Callable[[Any], Any]], job: Job) -> None:
        self._stage = _stage(kind(job))

    def __call__(self, table: Any) -> Any:
        return self._stage(table)


def _stage(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `function` over a table of one block, which is how Ray Data hands them on."""

    def stage(table: Any) -> Any:
        record = _content(table)
        if not isinstance(record, Failure):
            try:
                record = function(record)
            except Exception as error:  # noqa: BLE001  the driver raises it
                record = Failure(error, traceback.format_exc())
        return _table(table["number"][0].as_py(), record)

    return stage


def _table(number: int, record: Any) -> Any:
    import pyarrow as pa

    return pa.table({"number": [number], _COLUMN: pa.array([pickle.dumps(record, 5)], pa.large_binary())})


def _content(table: Any, row: int = 0) -> Any:
    return pickle.loads(table[_COLUMN][row].as_buffer())  # noqa: S301  our own
