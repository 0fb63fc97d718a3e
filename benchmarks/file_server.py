"""A cheap server of a folder's files on loopback: it prints its port, and answers `/<name>` until its stdin ends."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"


def main() -> None:
    folder = Path(sys.argv[1])

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = b""
        with connection, suppress(OSError):
            while part := connection.recv(65_536):
                waiting += part
                while b"\r\n\r\n" in waiting:
                    request, _, waiting = waiting.partition(b"\r\n\r\n")
                    with (folder / Path(request.split(b" ", 2)[1].decode()).name).open("rb") as file:
                        connection.sendall(HEAD.format(file.seek(0, 2)).encode())
                        file.seek(0)
                        connection.sendfile(file)

    def accept(listening: socket.socket) -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=accept, args=(listening,), daemon=True).start()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()  # a starter that was killed leaves no server behind


if __name__ == "__main__":
    main()
