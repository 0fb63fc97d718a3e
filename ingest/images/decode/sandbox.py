"""Decodes images in a process that may crash: files that look damaged, and formats whose decoders are seldom tested.

The process runs this module. It reads lines of a path and a pixel limit, and answers each with pixels or a reason. If
it crashes or takes too long, the file counts as not an image, and the next one gets a new process.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from PIL import Image

from ingest.core.records import Reason
from ingest.images.decode.decoder import MAX_PIXELS, open_rgb
from ingest.images.decode.errors import UndecodableError

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 60.0
_COMMAND = (sys.executable, "-P", "-m", "ingest.images.decode.sandbox")
_PACKAGES = str(Path(__file__).parents[3])  # of this ingest, installed or not
_HEAD = struct.Struct(">II")  # width and height; for a failure 0 and the length of a JSON text


class Sandbox:
    """One process per calling thread, started with its first image; a context manager that ends them all."""

    def __init__(self, command: Sequence[str] = _COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for process in self._processes:
                _end(process)
            self._processes.clear()

    def open_rgb(self, path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """Return the file's first image as `decoder.open_rgb` does; raises UndecodableError."""
        process = self._process()
        watch = threading.Timer(self._timeout_s, process.kill)
        watch.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([str(path), max_pixels]).encode() + b"\n")
            process.stdin.flush()
            return _read_answer(process.stdout)
        except (OSError, EOFError) as error:
            self._forget(process)
            raise UndecodableError(Reason.NOT_AN_IMAGE, "crashes or hangs the decoder; replace it") from error
        finally:
            watch.cancel()

    def _process(self) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] | None = getattr(self._local, "process", None)
        if process is None or process.poll() is not None:
            process = subprocess.Popen(  # noqa: S603  our own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [_PACKAGES, os.environ.get("PYTHONPATH")])),
                },
                start_new_session=True,  # Ctrl-C ends the run, not the image being decoded
            )
            self._local.process = process
            with self._lock:
                self._processes.append(process)
        return process

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        self._local.process = None
        with self._lock:
            self._processes.remove(process)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _read_answer(stream: IO[bytes]) -> Image.Image:
    width, height = _HEAD.unpack(_read_exactly(stream, _HEAD.size))
    if width == 0:
        reason, detail = json.loads(_read_exactly(stream, height))
        raise UndecodableError(Reason(reason), detail)
    return Image.frombytes("RGB", (width, height), _read_exactly(stream, width * height * 3))


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    for line in requests:
        try:
            path, max_pixels = json.loads(line)
            image = open_rgb(Path(path), None, max_pixels)
        except UndecodableError as error:
            text = json.dumps([error.reason, error.detail]).encode()
            answers.write(_HEAD.pack(0, len(text)) + text)
        else:
            answers.write(_HEAD.pack(*image.size))
            answers.write(image.tobytes())
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
