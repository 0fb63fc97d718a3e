"""`make mutants`: a sample of faults, a fixed one for a seed, and which of them the tests find.

Each worker has a copy of the repository's code, in which it changes one line at a time. The tests of the module run in
a child that is forked after the libraries were imported, and stop at the first failure. A child that takes much longer
than the tests without a fault counts as killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from mutants.modules import TESTS
from mutants.one_line_faults import Fault, faults
from mutants.trial import ROOT, Copy, Forker

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
ENOUGH = 0.95
"""Share of the sampled faults, without equivalent ones, that must be killed."""


def sampled(modules: list[str], count: int, seed: int) -> list[tuple[str, Fault]]:
    """Return `count` faults, as many of each module as there are, the same for a seed and a module's source."""
    shuffled = {}
    for module in modules:
        found = faults((ROOT / "ingest" / module).read_text(encoding="utf-8"))
        random.Random(f"{seed} {module}").shuffle(found)
        shuffled[module] = found
    chosen: list[tuple[str, Fault]] = []
    while len(chosen) < count and any(shuffled.values()):
        chosen += [(module, found.pop()) for module, found in shuffled.items() if found][: count - len(chosen)]
    return sorted(chosen, key=lambda one: (one[0], one[1].line, one[1].after))


def equivalent() -> dict[tuple[str, str, str], str]:
    """Return the reasons for which faults change nothing that a test could see, by module and line before and after."""
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("fault", [])
    return {(one["module"], one["before"], one["after"]): one["reason"] for one in listed}


def main() -> int:
    """Try the faults; return 0 if enough are killed."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--module", action="append", choices=list(TESTS), help="only this one; may be given again")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "mutants.jsonl")
    given = parser.parse_args()
    modules = given.module or list(TESTS)
    chosen, reasons = sampled(modules, given.count, given.seed), equivalent()
    killed = survived = excused = 0
    given.report.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, Forker() as forker:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(given.workers):
            copies.put(Copy(Path(folder, str(number)), forker))

        def tried(one: tuple[str, Fault]) -> str:
            module, fault = one
            if (module, fault.before, fault.after) in reasons:
                return "equivalent"
            copy = copies.get()
            try:
                return copy.outcome(module, fault.source, TESTS[module])
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(given.workers) as threads, given.report.open("w", encoding="utf-8") as report:
            for (module, fault), outcome in zip(chosen, threads.map(tried, chosen), strict=True):
                killed += outcome in ("killed", "timed out")
                survived += outcome == "survived"
                excused += outcome == "equivalent"
                print(f"{outcome:10} ingest/{module}:{fault.line} ({fault.kind})", flush=True)
                if outcome == "survived":
                    print(f"    - {fault.before}\n    + {fault.after}", flush=True)
                line = {"outcome": outcome, "module": module, "line": fault.line, "kind": fault.kind,
                        "before": fault.before, "after": fault.after}  # fmt: skip
                report.write(json.dumps(line, ensure_ascii=False) + "\n")
    share = killed / max(1, killed + survived)
    print(f"{killed} killed, {survived} survived, {excused} equivalent: {share:.1%} killed, in {given.report}")
    return int(share < ENOUGH)


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a fault may leave a file's size and second of change as they were
    sys.exit(main())
