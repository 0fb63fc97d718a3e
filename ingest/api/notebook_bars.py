"""Progress bars in a notebook: a small table that is drawn again in its place."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.pipeline.progress import Progress

_WIDTH = 20  # em


def open_bars(progress: Progress) -> Callable[[], None] | None:
    """Return what draws the bars again; None if this process is no notebook's kernel."""
    shell = _shell()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display  # there already, because the shell is

    shown = display(HTML(""), display_id=True)
    return lambda: shown.update(HTML(draw(progress)))


def draw(progress: Progress) -> str:
    """Return the bars as HTML: for each stage its name, a bar, how many items of how many, and how many a second."""
    lines = []
    for stage, count in progress.counts():
        total = max(progress.total or 0, count.items)
        bar = f'<progress style="width:{_WIDTH}em" max="{total or 1}" value="{count.items}"></progress>'
        numbers = f"{count.items:,} of {total:,}, {count.rate:,.0f}/s"
        lines.append(f"<tr><td>{stage.value}</td><td>{bar}</td><td>{numbers}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def _shell() -> Any:
    """Return IPython's shell, if this process has one."""
    found = sys.modules.get("IPython")
    return None if found is None else found.get_ipython()
