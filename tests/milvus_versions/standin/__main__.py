"""Runs a stand-in until it is stopped: `python -m milvus_versions.standin 2.6.16`."""

from __future__ import annotations

import signal
import sys

from milvus_versions.standin.server import serve

_ENDS = {signal.SIGINT, signal.SIGTERM}

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # before there are threads, which inherit the mask
    with serve(sys.argv[1]) as stand_in:
        print(stand_in.uri, flush=True)  # noqa: T201
        signal.sigwait(_ENDS)
