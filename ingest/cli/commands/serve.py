"""`ingest serve`: searches over HTTP, with a web page."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import terminal
from ingest.core import display
from ingest.core.errors import ConfigError


@click.command("serve", cls=help_groups.Command)
@help_groups.option(
    "Service", "--host", metavar="ADDRESS", help="Address to listen on; any but loopback needs a token."
)
@help_groups.option("Service", "--port", type=click.IntRange(0, 65535), help="Port; 0 picks a free one.")
@help_groups.option(
    "Service",
    "--serve-token",
    metavar="TOKEN",
    show_default=False,
    help="Token that requests must send. Safer in the environment variable INGEST_SERVE_TOKEN.",
)
@help_groups.option(
    "Service", "--allow-origin", metavar="URL,…", help="Also allow requests from pages of these origins."
)
@help_groups.option(
    "Service", "--max-image-bytes", type=click.IntRange(1), metavar="BYTES", help="Largest accepted image."
)
@options.contract
@options.model
@options.milvus
@options.data
@options.config_option
def command(**values: Any) -> None:
    """Serve searches over HTTP, with a web page.

    \b
    Examples:
      ingest serve
      INGEST_SERVE_TOKEN=… ingest serve --host 0.0.0.0

    Ctrl-C and SIGTERM finish the requests in progress, then end it.
    """  # noqa: D301  Click needs the character itself
    try:
        import python_multipart  # noqa: F401  starlette notices only when a form arrives that it is missing

        from ingest.server import app
        from ingest.server.access import is_loopback
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "ingest":
            raise
        raise ConfigError(f"ingest serve: needs the extra serve ({error}); pip install 'ingest[serve]'") from error
    from ingest.milvus import uris

    terminal.log_to_stderr()
    settings = options.settings(values)
    if not settings.serve_token and not is_loopback(settings.host):
        raise click.UsageError(
            f"--host {settings.host} is reachable from other machines: set INGEST_SERVE_TOKEN to a secret that "
            "requests must send."
        )
    display.echo(f"ingest: loading {settings.model} for {uris.split_user(settings.milvus_uri)[0]}", err=True)
    app.run(settings, lambda address: display.echo(f"ingest: serving at {address} (Ctrl-C ends it)", err=True))
