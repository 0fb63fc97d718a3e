"""A cheap server of JPEGs on loopback: it prints its port, and answers `/<number>` with 30 kB.

Arguments: the latency in milliseconds, and the percentage of images that answer 503 until `/heal` is requested.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from loopback import HEAD, serve
from PIL import Image

if TYPE_CHECKING:
    import socket

DIFFERENT = 64


def jpeg(number: int) -> bytes:
    """Return an image of about 30 kB: soft colours under noise."""
    random = np.random.default_rng(number)
    soft = np.asarray(Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).resize((320, 320)), np.int16)
    pixels = (soft + random.integers(-22, 22, soft.shape, np.int16)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=75)
    return stream.getvalue()


def main() -> None:
    """Serve until stdin ends."""
    latency_s, failing = float(sys.argv[1]) / 1000, int(sys.argv[2])
    bodies = [jpeg(number) for number in range(DIFFERENT)]
    good = [HEAD.format(len(body)).encode() + body for body in bodies]
    bad = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    healed = threading.Event()

    def answer(path: str, connection: socket.socket) -> None:
        if path == "/heal":
            healed.set()
            connection.sendall(b"HTTP/1.1 204 Done\r\n\r\n")
            return
        number = int(path[1:].partition(".")[0])
        time.sleep(latency_s) if latency_s else None
        connection.sendall(bad if number % 100 < failing and not healed.is_set() else good[number % DIFFERENT])

    serve(answer)


if __name__ == "__main__":
    main()
