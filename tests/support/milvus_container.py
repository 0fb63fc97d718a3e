"""A real Milvus server in a container, for the tests that no substitute can stand in for."""

from __future__ import annotations

import gc
import os
import time
import warnings
from contextlib import closing
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.request import urlopen

import docker
import grpc
from docker.errors import DockerException, ImageNotFound
from pymilvus import MilvusClient, MilvusException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import DockerClient
    from testcontainers.core.container import DockerContainer

LOCAL_IMAGE = "ingest-milvus:2.3.5"
"""What scripts/build_milvus_image.sh builds; the environment variable MILVUS_IMAGE names another one."""

MILVUS_PORT, HEALTH_PORT = 19530, 9091
SERVER_SETTINGS = {
    "ETCD_USE_EMBED": "true", "COMMON_STORAGETYPE": "local", "DEPLOY_MODE": "STANDALONE",
    # Who waits looks more often: a collection is loaded in 1.7 s instead of 3.8, and released in 0.2 instead of 1.0.
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "100", "QUERYCOORD_CHECKCHANNELINTERVAL": "100",  # ms, for 1000
    "QUERYCOORD_DISTPULLINTERVAL": "100", "PROXY_TIMETICKINTERVAL": "100",  # ms, for 500 and 200
}  # fmt: skip
START_SECONDS = 180.0
LOG_LINES, PANIC_LINES = 100, 10


class MilvusUnavailableError(Exception):
    """There is no way to start Milvus on this machine: no Docker, or no image."""


class MilvusStartError(Exception):
    """Milvus did not come up in the container that was started. Ends with the container's last log lines."""


def start_milvus(volumes: Mapping[str, str]) -> tuple[str, str]:
    """Start a Milvus container; return the URI of the server, which answers, and the container's id.

    `volumes` are folders of this machine and where the server sees them.
    """
    # testcontainers reads these when it is imported, hence the import below. Ryuk, its clean-up helper, is
    # one more image to pull; `remove_container` does its work.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    os.environ.setdefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(available_image()).with_command(["milvus", "run", "standalone"])
    container.with_envs(**SERVER_SETTINGS)
    for here, there in volumes.items():
        container.with_volume_mapping(here, there, "rw")
    for port in (MILVUS_PORT, HEALTH_PORT):
        # A free port of the loopback interface only: the server asks nobody for a password.
        container.ports[str(port)] = ("127.0.0.1",)
    container.start()
    try:
        uri = _wait_until_ready(container)
    except Exception as error:
        log = container.get_wrapped_container().logs().decode(errors="replace")
        container.stop()
        message = f"{error}\nThe container's log ends with:\n{_last_words(log)}"
        raise MilvusStartError(message) from error
    number = str(container.get_wrapped_container().id)
    container.get_docker_client().client.close()
    return uri, number


def remove_container(number: str) -> None:
    """Remove a container and its volumes, running or not."""
    with closing(docker_client()) as client:
        client.containers.get(number).remove(force=True, v=True)


def available_image() -> str:
    """Return the name of the image, pulled if need be; raises MilvusUnavailableError."""
    with closing(docker_client()) as client:
        return _pulled_if_needed(client, os.environ.get("MILVUS_IMAGE") or LOCAL_IMAGE)


def docker_client() -> DockerClient:
    """Connect to Docker; raises MilvusUnavailableError."""
    with warnings.catch_warnings():
        # The Docker library does not close the socket of a failed attempt to connect, and pytest reports
        # the warning about that in place of the reason.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return docker.from_env()
        except DockerException as error:
            reason = str(error)
        gc.collect()
    message = f"no Docker daemon answers: {reason}"
    raise MilvusUnavailableError(message)


def _pulled_if_needed(client: DockerClient, image: str) -> str:
    try:
        client.images.get(image)
    except ImageNotFound as missing:
        if image == LOCAL_IMAGE:
            message = f"there is no image {image}: scripts/build_milvus_image.sh builds it"
            raise MilvusUnavailableError(message) from missing
        try:
            client.images.pull(image)
        except DockerException as error:
            message = f"the image {image} is neither here nor to be pulled: {error}"
            raise MilvusUnavailableError(message) from error
    return image


def _wait_until_ready(container: DockerContainer) -> str:
    """Wait for the health check and, since that one may pass too early, for a client to get an answer."""
    uri = f"http://127.0.0.1:{container.get_exposed_port(MILVUS_PORT)}"
    health = f"http://127.0.0.1:{container.get_exposed_port(HEALTH_PORT)}/healthz"
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urlopen(health, timeout=5):
                pass
            with closing(MilvusClient(uri=uri, timeout=5)) as client:
                client.list_collections(timeout=5)
        except (OSError, HTTPException, MilvusException, grpc.RpcError) as error:
            docker_container = container.get_wrapped_container()
            docker_container.reload()
            if docker_container.status != "running" or time.monotonic() > deadline:
                message = f"Milvus does not answer, its container is {docker_container.status}: {error}"
                raise TimeoutError(message) from error
            time.sleep(0.5)
        else:
            return uri


def _last_words(log: str) -> str:
    """Cut the log down to its end, or to the panic in it: after that come the stacks of all goroutines."""
    lines = log.splitlines()
    panics = [number for number, line in enumerate(lines) if "panic: " in line]
    end = panics[0] + PANIC_LINES if panics else len(lines)
    return "\n".join(lines[max(0, end - LOG_LINES) : end])
