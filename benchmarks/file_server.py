"""A cheap server of a folder's files on loopback: it prints its port, and answers `/<name>` until its stdin ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loopback import HEAD, serve

if TYPE_CHECKING:
    import socket


def main() -> None:
    folder = Path(sys.argv[1])

    def answer(path: str, connection: socket.socket) -> None:
        with (folder / Path(path).name).open("rb") as file:
            connection.sendall(HEAD.format(file.seek(0, 2)).encode())
            file.seek(0)
            connection.sendfile(file)

    serve(answer)


if __name__ == "__main__":
    main()
