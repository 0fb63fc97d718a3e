"""Runs the real command line in forked children: each begins with torch and pymilvus imported, as seconds matter here.

Reads a JSON line {"arguments": […], "folder": …} on stdin, answers with {"pid": …} and, at its end, {"code": …}.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np  # noqa: F401  imported before the fork
import pymilvus  # noqa: F401
import torch
import transformers  # noqa: F401
from milvus_lite.adapter.grpc import server  # noqa: F401

from ingest.cli import main
from ingest.embedding import clip  # noqa: F401


def run(request: dict[str, object]) -> None:
    os.chdir(str(request["folder"]))
    os.setsid()
    log = os.open("command.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    main.main(list(request["arguments"]))  # type: ignore[call-overload]


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                run(json.loads(line))
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        answers.write(json.dumps({"pid": pid}) + "\n")
        answers.flush()
        _, status = os.waitpid(pid, 0)
        answers.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
