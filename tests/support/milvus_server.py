"""A Milvus container on a fixed port of the host, which may be killed, paused, cut off and started again."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException
from support import milvus_container as containers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_READY_S = 180.0


class Server:
    """One container; `uri` stays the same over restarts.

    `token` is what it asks for; with `authority`, a file, it speaks TLS with a certificate of that one, from `folder`.
    """

    def __init__(
        self, client: Any, image: str, token: str, folder: Path | None, authority: Path | None, **environment: str
    ) -> None:
        self._how: dict[str, Any] = {"token": token} if token else {}
        if authority:
            self._how |= {"secure": True, "server_pem_path": str(authority)}
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.uri = f"{'https' if authority else 'http'}://127.0.0.1:{port}"
        # Alone in its network, it keeps its address, by which its parts know each other, when it comes back.
        self._network = client.networks.create(f"ingest-tests-{port}")
        self._container = client.containers.run(
            image,
            ["milvus", "run", "standalone"],
            detach=True,
            network=self._network.name,
            ports={"19530/tcp": ("127.0.0.1", port)},
            environment={**containers.SERVER_SETTINGS, **environment},
            volumes={str(folder): {"bind": "/certificates", "mode": "ro"}} if folder else {},
        )

    def wait(self) -> None:
        """Wait until a client gets an answer."""
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                with closing(MilvusClient(uri=self.uri, timeout=5, **self._how)) as client:
                    client.list_collections(timeout=5)
            except (OSError, MilvusException, grpc.RpcError):
                assert time.monotonic() < deadline, self._container.logs(tail=50).decode(errors="replace")
                time.sleep(0.3)
            else:
                return

    def kill(self) -> None:
        self._container.kill()

    def start(self) -> None:
        self._container.start()

    def restart(self) -> None:
        self._container.restart(timeout=5)

    def pause(self) -> None:
        self._container.pause()

    def unpause(self) -> None:
        self._container.unpause()

    def disconnect(self) -> None:
        self._network.disconnect(self._container, force=True)

    def connect(self) -> None:
        self._network.connect(self._container)

    def set(self, **settings: float) -> None:
        """Give settings of milvus.yaml, by the last part of their names, other values, and wait until they are read.

        What comes by the environment stays as it is: the server looks there first.
        """
        began = int(time.time())
        edits = "; ".join(f"s/^( +{name}:) +[^ ]+/\\1 {value}/" for name, value in settings.items())
        code, said = self._container.exec_run(["sed", "-i", "-E", edits, "/milvus/configs/milvus.yaml"])
        assert code == 0, said
        deadline = time.monotonic() + _READY_S  # it looks into the file every five seconds
        while not all(
            f'{name.lower()}\\",\\"Value\\":\\"{value}'.encode() in self._container.logs(since=began)
            for name, value in settings.items()
        ):
            assert time.monotonic() < deadline, f"the server does not read {settings}"
            time.sleep(0.2)

    def remove(self) -> None:
        self._container.remove(force=True, v=True)
        self._network.remove()


@contextmanager
def milvus_server(
    *, token: str = "", folder: Path | None = None, authority: Path | None = None, **environment: str
) -> Iterator[Server]:
    """Start a server and remove it; without Docker or the image, skip, or fail where CI runs."""
    try:
        image = containers.available_image()
        client = containers.docker_client()
    except containers.MilvusUnavailableError as error:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
            raise pytest.fail.Exception(f"must not be skipped on CI: {error}", pytrace=False) from None
        pytest.skip(str(error))
    with closing(client):
        server = Server(client, image, token, folder, authority, **environment)
        try:
            server.wait()
            yield server
        finally:
            server.remove()
