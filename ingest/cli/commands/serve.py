"""`ingest serve`: searches over HTTP, and a page to make them on."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli import options
from ingest.cli.output import terminal
from ingest.core.errors import ConfigError


@click.command("serve", cls=options.Command)
@options.option("Service", "--host", help="The address to listen on; another than this machine's own needs a token.")
@options.option("Service", "--port", type=click.IntRange(0, 65535), help="The port; 0 for any that is free.")
@options.option("Service", "--serve-token", show_default=False, help="What must be sent; better in INGEST_SERVE_TOKEN.")
@options.option("Service", "--allow-origin", metavar="URL,…", help="Pages of these origins may ask too.")
@options.option("Service", "--max-image-bytes", type=click.IntRange(1), help="The largest picture taken.")
@options.contract
@options.model
@options.milvus
@options.data
@options.config_option
def command(**values: Any) -> None:
    """Answer searches over HTTP, and show a page to make them on.

    \b
    ingest serve
    INGEST_SERVE_TOKEN=… ingest serve --host 0.0.0.0

    Ctrl-C or SIGTERM ends it when what is being answered is answered.
    """  # noqa: D301  Click looks for the character itself
    try:
        import python_multipart  # noqa: F401  starlette only misses it when a form arrives

        from ingest.server import app
        from ingest.server.access import is_loopback
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "ingest":
            raise
        raise ConfigError(f"ingest serve: needs the extra serve ({error}); pip install 'ingest[serve]'") from error
    terminal.log_to_stderr()
    settings = options.settings(values)
    if not settings.serve_token and not is_loopback(settings.host):
        raise click.UsageError(
            f"--host {settings.host} lets other machines ask: set INGEST_SERVE_TOKEN to a secret that they must send."
        )
    app.run(settings, lambda address: click.echo(f"ingest: serving at {address} (Ctrl-C ends it)", err=True))
