"""Decoding in a process that may die: for pictures whose bytes look wrong, and decoders that are seldom tried.

The process runs this module, reads a path and the most pixels a line and answers each with pixels or a reason. Where it
crashes or takes too long, the picture is told as not an image, and the next one gets a new process.
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
from ingest.images.decode.decoder import MAX_PIXELS, UndecodableError, decode_in_process

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 60.0
_COMMAND = (sys.executable, "-P", "-m", "ingest.images.decode.sandbox")
_PACKAGES = str(Path(__file__).parents[3])  # where this very ingest is, installed or not
_HEAD = struct.Struct(">II")  # width and height; 0 and the length of a JSON text for a failure


class Sandbox:
    """One process for each thread that asks, started at the first need; a context manager that ends them all."""

    def __init__(self, command: Sequence[str] = _COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._own = threading.local()
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for process in self._processes:
                _end(process)
            self._processes.clear()

    def open_rgb(self, path: Path, most: int = MAX_PIXELS) -> Image.Image:
        """Return the file's first picture as `decoder.open_rgb` does; raises UndecodableError."""
        process = self._process()
        watch = threading.Timer(self._timeout_s, process.kill)
        watch.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([str(path), most]).encode() + b"\n")
            process.stdin.flush()
            return _answer(process.stdout)
        except (OSError, EOFError) as error:
            self._forget(process)
            raise UndecodableError(Reason.NOT_AN_IMAGE, "crashes or hangs its decoder; replace it") from error
        finally:
            watch.cancel()

    def _process(self) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] | None = getattr(self._own, "process", None)
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
                start_new_session=True,  # Ctrl-C is for the run, not for the picture that is being decoded
            )
            self._own.process = process
            with self._lock:
                self._processes.append(process)
        return process

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        self._own.process = None
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


def _answer(stream: IO[bytes]) -> Image.Image:
    width, height = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if width == 0:
        reason, detail = json.loads(_exactly(stream, height))
        raise UndecodableError(Reason(reason), detail)
    return Image.frombytes("RGB", (width, height), _exactly(stream, width * height * 3))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    for line in asked:
        try:
            path, most = json.loads(line)
            image = decode_in_process(Path(path), most)
        except UndecodableError as error:
            text = json.dumps([error.reason, error.detail]).encode()
            answers.write(_HEAD.pack(0, len(text)) + text)
        else:
            answers.write(_HEAD.pack(*image.size))
            answers.write(image.tobytes())
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
