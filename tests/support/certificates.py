"""A certificate authority for tests, and certificates that a client must refuse, made by the `openssl` command."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def authority(folder: Path) -> Path:
    """Make an authority in `folder`; return its certificate."""
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial\ndefault_md=sha256\npolicy=p\n"
        "unique_subject=no\n[p]\ncommonName=supplied\n"
    )
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=tests -days 30")
    return folder / "ca.pem"


def context(folder: Path, address: str, *, begins: str, ends: str) -> ssl.SSLContext:
    """Return a server's context for a certificate of the authority, valid between two times (YYMMDDHHMMSSZ)."""
    name = address.replace(".", "-")
    (folder / f"{name}.ext").write_text(f"subjectAltName=IP:{address}\n")
    _openssl(folder, f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
    _openssl(
        folder,
        f"ca -batch -notext -config ca.cnf -keyfile ca.key -cert ca.pem -in {name}.csr -out {name}.pem "
        f"-startdate {begins} -enddate {ends} -extfile {name}.ext",
    )
    return _context(folder, name)


def self_signed(folder: Path) -> ssl.SSLContext:
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.pem -subj /CN=own -days 30")
    return _context(folder, "own")


def _context(folder: Path, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return made


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
