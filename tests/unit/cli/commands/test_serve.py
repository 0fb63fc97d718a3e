"""What keeps `ingest serve` from starting is said before anything is loaded."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ingest.cli.commands.serve import command


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.4", "shop.example"])
def test_other_machines_are_let_in_with_a_token_only(host):
    ended = CliRunner().invoke(command, ["--host", host])
    assert ended.exit_code == 2
    assert "INGEST_SERVE_TOKEN" in ended.output
