"""Embed the catalog's pictures into a `.npy` and a JSON file: `ingest embed` under the name of the quick start."""

from pathlib import Path

from ingest.cli.commands.embed import command
from ingest.cli.main import main

main(command=command, program=Path(__file__).name)
