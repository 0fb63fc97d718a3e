"""Runs every benchmark, one after another; `make bench` calls it.

    python benchmarks/run_all.py [--quick] [--results FOLDER] [NAME...]

What a benchmark needs besides this checkout is named in the environment; without it, a message says what is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
GIVEN = {
    "--uri": ("BENCH_URI", "a Milvus server to write to"),
    "--img2dataset": ("BENCH_IMG2DATASET", "img2dataset in a separate virtual environment"),
    "--clip-retrieval": ("BENCH_CLIP_RETRIEVAL", "clip-retrieval in a separate virtual environment"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, such as: startup index")
    parser.add_argument("--quick", action="store_true", help="take less than a minute each")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="write a .json for each to this folder")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    names = arguments.names or programs()
    unknown = sorted(set(names) - set(programs()))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(programs())}")
    failed = [name for name in names if not done(name, arguments.results.resolve(), quick=arguments.quick)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def programs() -> list[str]:
    """Return the benchmarks: the programs here that take --json."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.py"))}
    takes_json = ("bench.parser(", '"--json"')
    return [
        name
        for name, text in texts.items()
        if name not in ("bench", Path(__file__).stem) and any(words in text for words in takes_json)
    ]


def done(name: str, results: Path, *, quick: bool) -> bool:
    """Run one benchmark, or say why it is left out; return False if it failed."""
    program = [sys.executable, str(HERE / f"{name}.py")]
    help_ = subprocess.run([*program, "--help"], check=True, capture_output=True, text=True).stdout
    usage = help_.split("\n\n", maxsplit=1)[0]
    flags: list[str] = []
    for flag, (variable, what) in GIVEN.items():
        if flag not in usage:
            continue
        if value := os.environ.get(variable):
            flags += [flag, value]
        elif f"[{flag}" in usage:
            print(f"{name}: without {flag}; set {variable} to {what}", flush=True)
        else:
            print(f"{name}: left out; set {variable} to {what}", flush=True)
            return True
    print(f"== {name}", flush=True)
    file = results / f"{name}.json"
    return not subprocess.run([*program, *flags, *(["--quick"] if quick else []), "--json", str(file)]).returncode


if __name__ == "__main__":
    main()
