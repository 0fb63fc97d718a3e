"""The `ingest` command: a lazy Click group, and the only place that turns an error into a line and an exit code."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any

import click

from ingest.cli import credentials, interrupts
from ingest.core import display, escape
from ingest.core.errors import IngestError

_COMMANDS = {
    # name: (module, description, section of --help)
    "init": ("ingest.cli.commands.init", "Look at a catalog, and write a schema and settings for it.", "Build"),
    "run": ("ingest.cli.commands.run", "Update the Milvus collection from the catalog.", "Build"),
    "plan": ("ingest.cli.commands.plan", "Show what a run would add, change, delete and skip.", "Build"),
    "embed": ("ingest.cli.commands.embed", "Embed the catalog into files, without Milvus.", "Build"),
    "export": (
        "ingest.cli.commands.export",
        "Write the .npy and FAISS files from the stored vectors.",
        "Build",
    ),
    "fetch": ("ingest.cli.commands.fetch", "Download the catalog's images and do nothing else.", "Build"),
    "search": ("ingest.cli.commands.search", "Find products by text, image or product.", "Search"),
    "recommend": ("ingest.cli.commands.recommend", "Recommend products similar to one or several products.", "Search"),
    "evaluate": ("ingest.cli.commands.evaluate", "Measure recall and latency, and find the best ef.", "Search"),
    "serve": ("ingest.cli.commands.serve", "Serve searches over HTTP, with a web page.", "Search"),
    "status": ("ingest.cli.commands.status", "Show the state of the last run and of the images.", "Check"),
    "verify": ("ingest.cli.commands.verify", "Check the collection and the files against the catalog.", "Check"),
    "doctor": ("ingest.cli.commands.doctor", "Check torch, device, model, Milvus and disk.", "Check"),
    "models": ("ingest.cli.commands.models", "List models to choose from, and those in the local cache.", "Manage"),
    "collections": (
        "ingest.cli.commands.collections",
        "List the collections of the alias; drop old ones.",
        "Manage",
    ),
    "store": (
        "ingest.cli.commands.store",
        "Inspect the embedding store, merge its shards, drop unused vectors.",
        "Manage",
    ),
    "rollback": ("ingest.cli.commands.rollback", "Switch the alias back to the previous collection.", "Manage"),
}

_OBJECTS = 100_000
"""New objects between two garbage collections. With Python's 700, they take a third of the time of importing torch."""


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

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
            hint = f" Did you mean {near[0]}?" if near else f" Commands: {', '.join(_COMMANDS)}."
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
    """Keep a Milvus collection of CLIP image embeddings up to date with a product catalog.

    \b
    Examples:
      ingest run --catalog products.csv --uri http://localhost:19530
      ingest search "red striped mug"

    Settings come from flags, INGEST_… environment variables and ./ingest.toml, in that order.
    """  # noqa: D301  Click looks for the character itself


def main(arguments: list[str] | None = None, command: click.Command = cli, program: str = "ingest") -> None:
    """Run the command line and exit with its code; every error ends here, as one line on stderr.

    `program` is the name of `command` in --help.
    """
    if arguments is None:
        interrupts.end_at_once()
        credentials.hide()
        gc.set_threshold(_OBJECTS)
    with display.guard():
        code = _run(arguments, command, program)
    if arguments is None:
        gc.freeze()  # otherwise Python examines torch's million objects once more at exit, for a second
    sys.exit(code)


def _run(arguments: list[str] | None, command: click.Command, program: str) -> int:
    """Run a command and return the exit code; an error is shown as a line."""
    code: object = 0
    try:
        code = command.main(arguments, prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        _show_usage(error)
        code = error.exit_code
    except IngestError as error:
        display.echo(f"ingest: {_one_line(error)}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        display.echo("ingest: interrupted; run the same command again to go on", err=True)
        code = 130
    except SystemExit:
        code = 0  # from Click, only if the reader of the output has gone, as `head` does
    except Exception as error:  # noqa: BLE001  a bug in ingest is one line too
        display.echo(f"ingest: internal error: {type(error).__name__}: {_one_line(error)}", err=True)
        display.echo(f"ingest: please report it with the traceback in {_log(error)}", err=True)
        code = 1
    return code if isinstance(code, int) else 0


def _show_usage(error: click.ClickException) -> None:
    """Show a mistake in usage as Click does, its message as one line and without the secrets of what was typed."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        for line in context.get_usage().splitlines():
            display.echo(line, err=True)
        display.echo(f"Try '{context.command_path} --help' for help.", err=True)
        display.echo(err=True)
    message = credentials.redact(" ".join(error.format_message().split()))
    display.echo(f"Error: {message}", err=True)


def _one_line(error: BaseException) -> str:
    return credentials.redact(" ".join(str(error).split()))


def _log(error: BaseException) -> str:
    import tempfile
    import traceback

    text = escape.lines(credentials.redact("".join(traceback.format_exception(error))))
    with tempfile.NamedTemporaryFile("w", prefix="ingest-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(text)
    return file.name
