"""`ingest models`: models to choose from, and those in the local cache."""

from __future__ import annotations

from dataclasses import asdict

import click

from ingest.cli import help_groups, options
from ingest.core import display


@click.command("models", cls=help_groups.Command)
@options.as_json
def command(*, as_json: bool) -> None:
    """List models to choose from, and those in the local cache.

    \b
    ingest models
    ingest run --model Marqo/marqo-ecommerce-embeddings-B

    Any CLIP, SigLIP or SigLIP 2 of a fixed size can be used, as transformers or open_clip publish them; these are
    starting points. Nothing is fetched.
    """  # noqa: D301  Click needs the character itself
    from ingest.cli.output import models as output
    from ingest.embedding.recommended_models import MEASURES, SPEED
    from ingest.tasks.models import models

    found = models()
    if not as_json:
        output.show(found)
        return
    recommended = [
        asdict(model) | {"measure": MEASURES.get(model.source), "speed": SPEED[model.shape]}
        for model in found.recommended
    ]
    display.echo_json({"recommended": recommended, "cached": [asdict(model) for model in found.cached]})
