"""The one number of a contract that may change while a collection stays: `ef`, put into the file as it stands there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import contract as contracts
from ingest.durable import replaced
from ingest.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER = re.compile(rb"""(?:\bef|"ef"|'ef')\s*=\s*([+0-9][0-9A-Za-z_]*)""")
_PACKAGE = Path(contracts.__file__).parent


def check(path: Path) -> None:
    """Raise ContractError where the contract's file is not the user's to change: the copy inside the package."""
    if path.resolve().is_relative_to(_PACKAGE):
        raise ContractError(
            f"{path}: belongs to the installed package, and the next update would undo a change; copy it, and pass the "
            "copy with --schema"
        )


def set_ef(path: Path, ef: int) -> None:
    """Change `ef` in a contract's file, and no other byte of it. Raises ContractError where that cannot be done."""
    check(path)
    before = contracts.load(path).index.ef
    if before == ef:
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ContractError(f"{path}: cannot be read ({error.strerror}); pass --schema FILE") from error
    changed = next(_changed(content, ef), None)
    if changed is None:
        raise ContractError(f"{path}: its ef cannot be found to be changed; write ef = {ef} there under [embedding]")
    with replaced(path) as file:
        file.write(changed)


def _changed(content: bytes, ef: int) -> Iterator[bytes]:
    """Yield the content with one number put in another's place, where that changes `embedding.ef` and nothing else.

    What looks like it in a comment or a text does not, and which it is only a whole reading of the file can tell.
    """
    wanted = _table(content)
    wanted["embedding"]["ef"] = ef
    for match in _NUMBER.finditer(content):
        changed = content[: match.start(1)] + str(ef).encode() + content[match.end(1) :]
        try:
            same = repr(_table(changed)) == repr(wanted)  # nan, a default, is not equal to itself
        except ValueError:
            continue
        if same:
            yield changed


def _table(content: bytes) -> dict[str, Any]:
    return tomllib.loads(content.decode())
