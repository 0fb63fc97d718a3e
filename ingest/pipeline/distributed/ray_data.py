"""Runs blocks through Ray Data, again and in smaller pieces if their workers die, until all are finished."""

from __future__ import annotations

import logging
import pickle
import queue
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from ingest.core.errors import EngineError
from ingest.pipeline.distributed import cluster
from ingest.pipeline.distributed.actor_pool import EMBED_CPUS, FETCH_CPUS, UPSERT_CPUS
from ingest.pipeline.distributed.blocks import Done, Failure, halves, skip_killer
from ingest.pipeline.distributed.workers import Embedder, Upserter, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ingest.pipeline.distributed.actor_pool import ActorPool
    from ingest.pipeline.distributed.blocks import Block
    from ingest.pipeline.distributed.workers import Job
    from ingest.store.shared_index import SharedKeyIndex

log = logging.getLogger(__name__)

KILLS = 3
"""How many workers a block may kill before it is split, or skipped if it is a single product."""
_COLUMN = "block"
_FINISHED = 16  # tables that wait for the driver
_POLL_S = 0.2
_SILENT_S = 60.0
_SILENT = "no block has been finished for %g s; free in the cluster: %s; if that is too little, end its other jobs"
_IDLE_ACTORS = "The minimum number of concurrent actors"  # a warning if there are fewer blocks, as after a lost node


def run_blocks(tables: list[Any], job: Job, stored: SharedKeyIndex, pool: ActorPool, stop: threading.Event,
           *, upserting: bool) -> Iterator[Done]:  # fmt: skip
    """Run blocks that were put through the stages on the cluster; yield each when it is finished, in any order, once.

    A block whose worker has died `KILLS` times is split, until the one product to blame is found and skipped.
    Raises what a worker raised, and EngineError if no block at all is finished.
    """
    import ray

    shared = ray.put(stored)
    alone = False  # in the first pass actors take blocks in advance, so that a death loses several of them
    while tables and not stop.is_set():
        lost = dict(enumerate(tables))
        dataset = _dataset(tables, job, shared, pool, upserting=upserting, alone=alone)
        for number, done in _results(_until_stopped(dataset, stop)):
            if lost.pop(number, None) is not None:
                yield done
        if stop.is_set():
            return
        if not alone and len(lost) == len(tables) > 2:
            raise EngineError(
                f"--engine ray: all {len(lost)} blocks were lost; check that every node has ingest, and the catalog "
                "and the model under the same paths, and see Ray's logs: /tmp/ray/session_latest/logs"
            )
        unfinished: list[Block] = [_unpack(ray.get(table)) for table in lost.values()]
        if alone:
            yield from (skip_killer(block[0], KILLS) for block in unfinished if len(block) == 1)
            unfinished = [block for block in unfinished if len(block) > 1]
        tables = [
            put(number, half) for number, half in enumerate(half for block in unfinished for half in halves(block))
        ]
        alone = True


def put(number: int, block: Block) -> Any:
    """Put a block into Ray's object store, which spills to disk, as a table of one row for Ray Data."""
    import ray

    return ray.put(_pack(number, block))


def _until_stopped(dataset: Any, stop: threading.Event) -> Iterator[Any]:
    """Yield the dataset's tables as they are finished; end at once when `stop` is set, whatever the cluster does.

    What the workers have stored and written by then is found by the next run.
    """
    finished: queue.Queue[Any] = queue.Queue(_FINISHED)
    gone = threading.Event()
    threading.Thread(target=_drain, args=(dataset, finished, gone), name="ray-data", daemon=True).start()
    latest = time.monotonic()
    try:
        while not stop.is_set():
            try:
                table = finished.get(timeout=_POLL_S)
            except queue.Empty:
                cluster.check_alive()
                if time.monotonic() - latest > _SILENT_S:
                    latest = time.monotonic()
                    log.warning(_SILENT, _SILENT_S, cluster.free_resources())
                continue
            if isinstance(table, BaseException):
                raise table
            if table is None:
                return
            yield table
            latest = time.monotonic()
    finally:
        gone.set()
        executor = getattr(dataset, "_current_executor", None)
        # Else its actors would work on, for a process that stays connected; until the first block is finished, they do.
        if stop.is_set() and executor is not None:
            executor.shutdown(force=True)


def _drain(dataset: Any, finished: queue.Queue[Any], gone: threading.Event) -> None:
    """Put each table of the dataset into the queue, and None or the exception at its end, until nobody takes them."""

    def put(item: Any) -> None:
        while not gone.is_set():
            try:
                finished.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            put(table)
            if gone.is_set():
                return
    except BaseException as error:  # noqa: BLE001  raised again where the tables are taken
        put(error)
    put(None)


def _results(tables: Iterable[Any]) -> Iterator[tuple[int, Done]]:
    """Yield the number of each finished block and what came of it."""
    for table in tables:
        for row, number in enumerate(table["number"].to_pylist()):
            result = _unpack(table, row)
            if isinstance(result, Failure):
                result.error.add_note(result.trace)
                raise result.error
            yield number, result


def _dataset(tables: Sequence[Any], job: Job, stored: Any, pool: ActorPool, *, upserting: bool, alone: bool) -> Any:
    """Chain the stages; if `alone`, an actor gets one block at a time, so that its death loses no other."""
    import ray
    from ray.data import ActorPoolStrategy

    _configure_ray_data()
    retries = {"max_restarts": -1, "max_task_retries": KILLS - 1}
    in_flight = {"max_tasks_in_flight_per_actor": 1} if alone else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray 2.60 deprecates max_retries and the like, and has no replacement yet
        dataset = ray.data.from_arrow_refs(tables).map_batches(
            _stage(lambda block: prepare(block, job, ray.get(stored))),
            batch_size=1, batch_format="pyarrow", num_cpus=FETCH_CPUS, max_retries=KILLS - 1,
        )  # fmt: skip
        dataset = dataset.map_batches(
            _Actor, fn_constructor_args=(Embedder, job), batch_size=1, batch_format="pyarrow",
            num_cpus=0 if pool.gpus else EMBED_CPUS, num_gpus=pool.gpus or None,
            compute=ActorPoolStrategy(
                min_size=min(pool.fewest, len(tables)), max_size=min(pool.most, len(tables)), **in_flight
            ), **retries,
        )  # fmt: skip
        if upserting:
            dataset = dataset.map_batches(
                _Actor, fn_constructor_args=(_make_upserter, job, stored), batch_size=1, batch_format="pyarrow",
                num_cpus=UPSERT_CPUS,
                compute=ActorPoolStrategy(min_size=1, max_size=pool.upserts, **in_flight), **retries,
            )  # fmt: skip
    return dataset


def _configure_ray_data() -> None:
    """Have Ray Data print nothing, and leave lost blocks to us."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", _IDLE_ACTORS)  # for the whole process: a thread of Ray's gives this warning


class _Actor:
    """A stage that keeps something between blocks, the model or a connection, as an actor."""

    def __init__(self, kind: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
        self._stage = _stage(kind(*arguments))

    def __call__(self, table: Any) -> Any:
        return self._stage(table)


def _make_upserter(job: Job, stored: Any) -> Upserter:
    import ray

    return Upserter(job, ray.get(stored))


def _stage(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `function`, which takes a block, as a function of tables of one block, as Ray Data calls it."""

    def stage(table: Any) -> Any:
        record = _unpack(table)
        if not isinstance(record, Failure):
            try:
                record = function(record)
            except Exception as error:  # noqa: BLE001  the driver raises it
                record = Failure(_portable(error), traceback.format_exc())
        return _pack(table["number"][0].as_py(), record)

    return stage


def _portable(error: Exception) -> Exception:
    """Return an exception that another process can raise: itself, or one that says what it was."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  pickled by us
    except Exception:  # noqa: BLE001  whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _pack(number: int, record: Any) -> Any:
    import pyarrow as pa

    return pa.table({"number": [number], _COLUMN: pa.array([pickle.dumps(record, 5)], pa.large_binary())})


def _unpack(table: Any, row: int = 0) -> Any:
    return pickle.loads(table[_COLUMN][row].as_buffer())  # noqa: S301  pickled by us
