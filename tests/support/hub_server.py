"""A model hub on loopback: the files of folders as repositories, which may lack files, be cut off or be away."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMIT = "b" * 40
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)")


class Hub:
    """Serves each folder of `repositories`, by hub id, at `COMMIT`, `main` and the names in `revisions`.

    Files named in `large` have their SHA-256 as their etag, as those that the hub keeps in git-lfs.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.revisions = {"main": COMMIT, COMMIT: COMMIT}
        self.asked: list[str] = []
        self.large: set[str] = set()
        outer = self

        class Handler(_Handler):
            hub = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def fetched(self) -> list[str]:
        """Return the names of the files that were downloaded, and forget them."""
        names, self.asked[:] = self.asked[:], []
        return names

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[Hub]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def _answer(self, *, body: bool) -> None:
        found = _FILE.match(self.path)
        if found is None:
            return self._send(200 if self.path == "/" else 404, b"", {}, body=body)
        name, revision, file = found.groups()
        folder, commit = self.hub.repositories.get(name), self.hub.revisions.get(revision)
        if folder is None or commit is None:
            code = "RepoNotFound" if folder is None else "RevisionNotFound"
            return self._send(404, b"", {"X-Error-Code": code}, body=body)
        path = folder / file
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, body=body)
        if body:
            self.hub.asked.append(file)
        content = path.read_bytes()
        digest = hashlib.sha256 if file in self.hub.large else hashlib.sha1
        etag = f'"{digest(content, usedforsecurity=False).hexdigest()}"'
        return self._send(200, content, {"X-Repo-Commit": commit, "ETag": etag}, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a hub that this process asks instead of the real one, with an empty cache."""
    from huggingface_hub import constants

    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.stop()


@pytest.fixture
def offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what takes the network away."""
    from huggingface_hub import constants

    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
