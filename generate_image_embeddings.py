"""Embed the catalog's pictures into a `.npy` and a JSON file: `ingest embed` under the name of the quick start."""

import sys

from ingest.cli.main import main

sys.argv.insert(1, "embed")
main()
