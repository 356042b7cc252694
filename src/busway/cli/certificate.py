"""`busway certificate`: an authority of one's own and a certificate for this machine, to try wss:// with."""

from __future__ import annotations

import os

import click

from busway.cli import failures, output
from busway.cli.options import Examples, json_option
from busway.drivers.extras import missing


@click.command(cls=Examples)
@click.option("--out", required=True, metavar="DIR", help="Where to write the three files; made if need be.")
@click.option("--name", "names", multiple=True, help="A host name or address (localhost, 127.0.0.1, ::1).")
@json_option("One JSON document: the paths of the three files.")
def certificate(out: str, names: tuple[str, ...], as_json: bool) -> int:
    """Examples:
      busway certificate --out certificates
      busway certificate --out certificates --name lab.example --name 192.168.1.20

    It writes ca.pem, for those who connect (cafile=, --cafile), and chain.pem and key.pem, for the one who
    listens (certificate= and key=, --certificate and --certificate-key). For tests: the authority's key is
    thrown away, so nothing else can be signed.
    """
    try:
        import trustme
    except ModuleNotFoundError:
        raise failures.Failure(failures.MISSING, missing("certificates need", "certificate")) from None
    authority = trustme.CA(organization_name="Busway certificate for tests")
    try:
        leaf = authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1")))
    except ValueError as error:
        raise failures.Failure(failures.USAGE, f"no name for a certificate: {error}") from None
    chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
    files = {"ca": authority.cert_pem.bytes(), "chain": chain, "key": leaf.private_key_pem.bytes()}
    written = {}
    try:
        os.makedirs(out, exist_ok=True)
        for name, data in files.items():
            written[name] = os.path.join(out, f"{name}.pem")
            _write(written[name], data)
    except OSError as error:
        raise failures.Failure(failures.NEGATIVE, f"cannot write to {out}: {error}") from None
    if as_json:
        output.say_json(written)
    else:
        output.say("\n".join(written.values()))
    return failures.OK


def _write(path: str, data: bytes) -> None:
    """Readable by its owner only, from its first byte on: one of them is a private key."""
    if os.path.lexists(path):
        os.unlink(path)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
