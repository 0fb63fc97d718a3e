"""The `ingest` command: a lazy Click group, and the only place where an error becomes a line and an exit code."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any

import click

from ingest.cli import credentials, interrupts
from ingest.core.errors import IngestError

_COMMANDS = {
    # name: (module, what it does, section of the help)
    "run": ("ingest.cli.commands.run", "Bring the Milvus collection in step with the catalog.", "Fill"),
    "plan": ("ingest.cli.commands.plan", "Say what a run would add, change, remove and skip.", "Fill"),
    "embed": ("ingest.cli.commands.embed", "Embed the catalog into files, without Milvus.", "Fill"),
    "export": (
        "ingest.cli.commands.export",
        "Write the .npy pair and the FAISS files from the stored vectors.",
        "Fill",
    ),
    "fetch": ("ingest.cli.commands.fetch", "Fetch the catalog's pictures, and nothing else.", "Fill"),
    "search": ("ingest.cli.commands.search", "Find products by text, by picture, or by another product.", "Ask"),
    "recommend": ("ingest.cli.commands.recommend", "Recommend products like one, a basket, or all of them.", "Ask"),
    "evaluate": ("ingest.cli.commands.evaluate", "Measure recall and latency; find the ef that is good enough.", "Ask"),
    "serve": ("ingest.cli.commands.serve", "Answer searches over HTTP, and show a page to make them on.", "Ask"),
    "status": ("ingest.cli.commands.status", "Show how the pictures stand, and the worst hosts.", "Check"),
    "verify": ("ingest.cli.commands.verify", "Prove the collection and the files against the catalog.", "Check"),
    "doctor": ("ingest.cli.commands.doctor", "Check torch, device, model, Milvus and disk.", "Check"),
    "collections": (
        "ingest.cli.commands.collections",
        "List the collections behind the alias; prune old ones.",
        "Keep",
    ),
    "store": (
        "ingest.cli.commands.store",
        "Say what the vectors' store holds; merge its shards, drop what is unused.",
        "Keep",
    ),
    "rollback": ("ingest.cli.commands.rollback", "Serve the collection that was served before.", "Keep"),
}

_OBJECTS = 100_000
"""So many new objects before Python looks for garbage among them: with 700, a third of the time of importing torch."""


class _LazyGroup(click.Group):
    """A group that imports a command's module when it is called, and lists all without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" There are {', '.join(_COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, (_, help_, section) in _COMMANDS.items():
            sections.setdefault(section, []).append((name, help_))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ingest", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep a Milvus collection of CLIP picture embeddings in step with a product catalog.

    \b
    ingest run --catalog products.csv --uri http://localhost:19530
    ingest search "red striped mug"

    Settings come from flags, INGEST_… environment variables and ./ingest.toml, in that order.
    """  # noqa: D301  Click looks for the character itself


def main(arguments: list[str] | None = None, command: click.Command = cli, program: str = "ingest") -> None:
    """Run the command line and exit with its code; every error ends here, as one line on stderr.

    `program` is what --help calls `command`.
    """
    if arguments is None:
        interrupts.end_at_once()
        credentials.hide()
        gc.set_threshold(_OBJECTS)
    try:
        code = command.main(arguments, prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except IngestError as error:
        click.echo(f"ingest: {_one_line(error)}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("ingest: interrupted; run the same command again to go on", err=True)
        code = 130
    except SystemExit:
        code = 0  # Click's, and only where the reader of the output has gone, as `head` does
    except Exception as error:  # noqa: BLE001  a bug of ours is told in one line too
        click.echo(f"ingest: a bug of ours: {type(error).__name__}: {_one_line(error)}", err=True)
        click.echo(f"ingest: its traceback is in {_log(error)}; please report it", err=True)
        code = 1
    if arguments is None:
        gc.freeze()  # at its end Python would look through torch's million objects once more, for a second
    sys.exit(code if isinstance(code, int) else 0)


def _one_line(error: BaseException) -> str:
    return credentials.redact(" ".join(str(error).split()))


def _log(error: BaseException) -> str:
    import tempfile
    import traceback

    text = credentials.redact("".join(traceback.format_exception(error)))
    with tempfile.NamedTemporaryFile("w", prefix="ingest-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(text)
    return file.name
