"""Runs blocks through Ray Data, again and in smaller pieces if their workers die, until all are finished."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from ingest.core.errors import EngineError
from ingest.pipeline.distributed.blocks import Done, Failure, halves, skip_killer
from ingest.pipeline.distributed.workers import Embedder, Upserter, prepare

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ingest.pipeline.distributed.blocks import Block
    from ingest.pipeline.distributed.cluster import ActorPool
    from ingest.pipeline.distributed.workers import Job
    from ingest.runtime.hash_index import SortedKeys

KILLS = 3
"""How many workers a block may kill before it is split, or skipped if it is a single product."""
_FETCH_CPUS, _EMBED_CPUS, _UPSERT_CPUS = 0.25, 0.5, 0.1  # together less than one core, so that any cluster will do
_COLUMN = "block"
_IDLE_ACTORS = "The minimum number of concurrent actors"  # a warning if there are fewer blocks, as after a lost node


def run_blocks(blocks: Iterable[Block], job: Job, known: SortedKeys, pool: ActorPool, stop: threading.Event,
           *, upserting: bool) -> Iterator[Done]:  # fmt: skip
    """Run blocks through the stages on the cluster; yield each when it is finished, in any order and only once.

    A block whose worker has died `KILLS` times is split, until the one product to blame is found and skipped.
    Raises what a worker raised, and EngineError if no block at all is finished.
    """
    import ray

    shared = ray.put(known)
    tables = list(_put_tables(blocks))
    alone = False  # in the first pass actors take blocks in advance, so that a death loses several of them
    while tables and not stop.is_set():
        lost = dict(enumerate(tables))
        for number, done in _run_once(tables, job, shared, pool, upserting=upserting, alone=alone):
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
        tables = list(_put_tables(half for block in unfinished for half in halves(block)))
        alone = True


def _put_tables(blocks: Iterable[Block]) -> Iterator[Any]:
    """Put each block into Ray's object store, which spills to disk, as a table of one row for Ray Data."""
    import ray

    for number, block in enumerate(blocks):
        yield ray.put(_pack(number, block))


def _run_once(
    tables: Sequence[Any], job: Job, known: Any, pool: ActorPool, *, upserting: bool, alone: bool
) -> Iterator[tuple[int, Done]]:
    """Run the blocks once; yield the number of each finished one and what came of it."""
    dataset = _dataset(tables, job, known, pool, upserting=upserting, alone=alone)
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row, number in enumerate(table["number"].to_pylist()):
            result = _unpack(table, row)
            if isinstance(result, Failure):
                result.error.add_note(result.trace)
                raise result.error
            yield number, result


def _dataset(tables: Sequence[Any], job: Job, known: Any, pool: ActorPool, *, upserting: bool, alone: bool) -> Any:
    """Chain the stages; if `alone`, an actor gets one block at a time, so that its death loses no other."""
    import ray
    from ray.data import ActorPoolStrategy

    _configure_ray_data()
    retries = {"max_restarts": -1, "max_task_retries": KILLS - 1}
    in_flight = {"max_tasks_in_flight_per_actor": 1} if alone else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray 2.60 deprecates max_retries and the like, and has no replacement yet
        dataset = ray.data.from_arrow_refs(tables).map_batches(
            _stage(lambda block: prepare(block, job, ray.get(known))),
            batch_size=1, batch_format="pyarrow", num_cpus=_FETCH_CPUS, max_retries=KILLS - 1,
        )  # fmt: skip
        dataset = dataset.map_batches(
            _Actor, fn_constructor_args=(Embedder, job), batch_size=1, batch_format="pyarrow",
            num_cpus=0 if pool.gpus else _EMBED_CPUS, num_gpus=pool.gpus or None,
            compute=ActorPoolStrategy(
                min_size=min(pool.fewest, len(tables)), max_size=min(pool.most, len(tables)), **in_flight
            ), **retries,
        )  # fmt: skip
        if upserting:
            dataset = dataset.map_batches(
                _Actor, fn_constructor_args=(Upserter, job), batch_size=1, batch_format="pyarrow",
                num_cpus=_UPSERT_CPUS,
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

    def __init__(self, kind: Callable[[Job], Callable[[Any], Any]], job: Job) -> None:
        self._stage = _stage(kind(job))

    def __call__(self, table: Any) -> Any:
        return self._stage(table)


def _stage(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `function`, which takes a block, as a function of tables of one block, as Ray Data calls it."""

    def stage(table: Any) -> Any:
        record = _unpack(table)
        if not isinstance(record, Failure):
            try:
                record = function(record)
            except Exception as error:  # noqa: BLE001  the driver raises it
                record = Failure(error, traceback.format_exc())
        return _pack(table["number"][0].as_py(), record)

    return stage


def _pack(number: int, record: Any) -> Any:
    import pyarrow as pa

    return pa.table({"number": [number], _COLUMN: pa.array([pickle.dumps(record, 5)], pa.large_binary())})


def _unpack(table: Any, row: int = 0) -> Any:
    return pickle.loads(table[_COLUMN][row].as_buffer())  # noqa: S301  pickled by us
