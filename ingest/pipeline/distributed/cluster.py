"""The connection to a Ray cluster: made within a deadline, its nodes waited for, its failures said in a line."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ClusterSizeError, EngineError
from ingest.pipeline.distributed.actor_pool import EMBED_CPUS, Node, choose_pool
from ingest.runtime.environment import variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.core.settings import Settings
    from ingest.pipeline.distributed.actor_pool import ActorPool

log = logging.getLogger(__name__)

_STARTS = 3  # of a cluster on this machine, whose processes wait for each other no longer than a busy machine needs
_CONNECTED_S = 5.0  # within which something must listen at an address
_ANSWERED_S = 40.0  # within which that must prove to be a cluster; to import Ray takes some of it
_POLL_S = 1.0
# Ray tries for minutes to reach what is no cluster of its own, writes past Python to stderr, and may end the process.
_PROBE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR'); ray.shutdown()"
_LOGS = "Ray's logs, /tmp/ray/session_latest/logs"
_ASKS_FOR_A_TOKEN = re.compile(r"unauthenticated|authentication (failed|required|token)|invalid.* token", re.IGNORECASE)
# The second is of what Ray writes past Python to stderr. Its processes inherit both.
_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
_TOKEN = "RAY_AUTH_MODE"  # noqa: S105  the variable's name


@contextmanager
def connect(address: str) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one on this machine if it is `local`.

    A process that is connected to Ray already keeps its connection. Raises EngineError if Ray is not installed or the
    cluster cannot be reached.
    """
    with variables(_VARIABLES):
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise EngineError(f"--engine ray: Ray is not installed ({error}); pip install 'ingest[ray]'") from error
        is_ours = not ray.is_initialized()
        if is_ours:
            _open(address)
    try:
        with _said_as_ours():
            yield
    finally:
        if is_ours:
            ray.shutdown()


def _open(address: str) -> None:
    on_sigterm = signal.getsignal(signal.SIGTERM)
    if address == "local":
        _start()
    else:
        _reach(address)
        _init(address)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's handler would end the run halfway


@contextmanager
def _said_as_ours() -> Iterator[None]:
    """Raise EngineError if the cluster fails, in one line."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:  # the second if the connection was by ray://
        check_alive()
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise EngineError(
            f"--engine ray: the cluster failed ({why.rstrip('.')}); what was written is kept: see {_LOGS}, and run the "
            "same command again"
        ) from error


def wait_for_room(settings: Settings, stop: threading.Event) -> ActorPool | None:
    """Return the actors of the run; wait for nodes up to `settings.cluster_wait` seconds, for a cluster that grows.

    Returns None if `stop` is set meanwhile. Raises ClusterSizeError if they do not come.
    """
    ends = time.monotonic() + settings.cluster_wait
    is_waiting = False
    try:
        while True:
            try:
                return choose_pool(settings, _nodes())
            except ClusterSizeError as error:
                if stop.is_set():
                    return None
                if time.monotonic() >= ends:
                    raise
                if not is_waiting:
                    log.warning("waiting up to %g s for the cluster to grow: %s", settings.cluster_wait, error)
                    _request(settings)
                    is_waiting = True
            stop.wait(_POLL_S)
    finally:
        if is_waiting:
            _request(None)


def check_alive() -> None:
    """Raise EngineError if this node's Ray process has ended: Ray would end this process some seconds later, unsaid."""
    import ray

    # Ray has no other way to ask: its own calls wait for an answer.
    node = getattr(ray._private.worker, "_global_node", None)  # noqa: SLF001
    path = getattr(node, "raylet_socket_name", None)
    if path is None:  # connected through ray://
        return
    with socket.socket(socket.AF_UNIX) as raylet:
        raylet.settimeout(_CONNECTED_S)
        try:
            raylet.connect(path)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise EngineError(
                "--engine ray: Ray's process on this node (raylet) has ended; what was written is kept: see why in "
                f"{_LOGS}, and run the same command again"
            ) from error
        except OSError:  # it is busy
            return


def free_resources() -> str:
    """Return what no task or actor of the cluster uses, in words."""
    import ray

    free = ray.available_resources()
    return f"{free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs"


def _start() -> None:
    """Start a cluster; try again what fails because the machine is busy."""
    import ray

    for tries_left in reversed(range(_STARTS)):
        try:
            _init("local", include_dashboard=False)
        except EngineError:
            ray.shutdown()
            if not tries_left:
                raise
        else:
            return


def _init(address: str, **options: Any) -> None:
    import ray

    try:
        with _without_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # ConnectionError, RuntimeError, TimeoutError, and gRPC's own
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _unreachable(address, why) from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what is written past Python to stderr: as it starts, Ray tells at which level it logs."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _reach(address: str) -> None:
    """Raise EngineError if no cluster answers at an address within a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECTED_S).close()
        except (OSError, OverflowError) as error:
            raise _unreachable(address, getattr(error, "strerror", None) or str(error) or "no answer") from error
    try:
        probe = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-P", "-c", _PROBE, address],
            capture_output=True,
            timeout=_ANSWERED_S,
            check=False,
            text=True,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise _unreachable(address, f"no Ray cluster has answered within {_ANSWERED_S:g} s") from error
    if probe.returncode:
        raise _unreachable(address, _reason(probe.stderr))


def _reason(said: str) -> str:
    """Return what is wrong, from what Ray has said before it gave up."""
    if _ASKS_FOR_A_TOKEN.search(said) and os.environ.get(_TOKEN) != "token":
        return f"it asks for a token: set {_TOKEN}=token, and the token in RAY_AUTH_TOKEN or ~/.ray/auth_token"
    lines = [line.strip() for line in said.splitlines() if "Error: " in line]
    return lines[-1].partition("Error: ")[2] if lines else "it is not a Ray cluster of this version"


def _unreachable(address: str, why: str) -> EngineError:
    return EngineError(f"--address {address}: cannot connect to a Ray cluster ({why.rstrip('.')}); see: ray status")


def _nodes() -> list[Node]:
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [Node(float(has.get("CPU", 0)), float(has.get("GPU", 0))) for has in alive]


def _request(settings: Settings | None) -> None:
    """Ask a cluster that grows on demand for what the settings need; None for no more than is in use."""
    from ray.autoscaler.sdk import request_resources

    bundles = []
    if settings is not None:
        fewest = settings.actors.partition(",")[0]
        gpus = settings.gpus_per_actor
        each = {"GPU": float(gpus)} if gpus not in ("auto", 0) else {"CPU": EMBED_CPUS}
        bundles = [each] * (int(fewest) if fewest.isdecimal() else 1)
    with suppress(Exception):  # a cluster of a fixed size may have nobody to ask
        request_resources(bundles=bundles)
