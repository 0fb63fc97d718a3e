"""A cheap server of JPEGs on loopback: it prints its port, and answers `/<number>` with 30 kB.

Arguments: the latency in milliseconds, and the percentage of images that answer 503 until `/heal` is requested.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from contextlib import suppress

import numpy as np
from PIL import Image

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
    """Serve until killed."""
    latency_s, failing = float(sys.argv[1]) / 1000, int(sys.argv[2])
    bodies = [jpeg(number) for number in range(DIFFERENT)]
    head = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
    good = [head.format(len(body)).encode() + body for body in bodies]
    bad = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    healed = threading.Event()

    def answer(request: bytes) -> bytes:
        path = request.split(b" ", 2)[1]
        if path == b"/heal":
            healed.set()
            return b"HTTP/1.1 204 Done\r\n\r\n"
        number = int(path[1:].partition(b".")[0])
        time.sleep(latency_s) if latency_s else None
        return bad if number % 100 < failing and not healed.is_set() else good[number % DIFFERENT]

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = b""
        with connection, suppress(OSError):
            while part := connection.recv(65_536):
                waiting += part
                while b"\r\n\r\n" in waiting:
                    request, _, waiting = waiting.partition(b"\r\n\r\n")
                    connection.sendall(answer(request))

    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
