"""``jukinet pki``: make a trial root, issue trial certificates, show what a certificate says (docs/pki.md)."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from jukinet.core.vocabulary import Role
from jukinet.server.pki import trial

OK, FAILED = 0, 5
USES = {ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth", ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``jukinet pki init|issue|show``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="make a trial root and a server certificate")
    init.add_argument("directory", type=Path, help="where to write root.pem, root.key, server.pem, server.key")
    init.add_argument("--host", action="append", metavar="NAME", help="server's DNS name or address (repeatable)")
    init.add_argument(
        "--days", type=int, default=trial.ROOT_DAYS, help="life of the root in days (default %(default)s)"
    )
    init.add_argument("--root-only", action="store_true", help="make no server certificate")
    issue = actions.add_parser("issue", help="issue a certificate for one body")
    issue.add_argument("directory", type=Path, help="the directory of the root; the new files are written there too")
    issue.add_argument("role", choices=[str(role) for role in Role])
    issue.add_argument("body", help="1 to 64 characters of a-z 0-9 -, as in the authority file")
    issue.add_argument(
        "--host", action="append", metavar="NAME", help="for role server: DNS name or address (repeatable)"
    )
    issue.add_argument("--days", type=int, default=trial.LEAF_DAYS, help="life in days (default %(default)s)")
    issue.add_argument("--name", metavar="STEM", help="write STEM.pem and STEM.key (default ROLE-BODY)")
    show = actions.add_parser("show", help="show what certificates say, and whether they still hold")
    show.add_argument("files", type=Path, nargs="+", metavar="FILE")
    show.add_argument("--root", type=Path, help="also check that this root issued each of them")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0: done; 1: a shown certificate does not hold; 5: a file cannot be read or written."""
    try:
        if arguments.action == "init":
            return init(arguments)
        if arguments.action == "issue":
            return issue(arguments)
        return show(arguments)
    except trial.PkiError as error:
        print(f"jukinet pki: {error}", file=sys.stderr)
        return FAILED


def init(arguments: argparse.Namespace) -> int:
    authority = trial.make_root(arguments.directory, days=arguments.days)
    print(f"trial root          {arguments.directory / 'root.pem'}")
    if not arguments.root_only:
        hosts = arguments.host or ["localhost", "127.0.0.1", "::1"]
        days = min(arguments.days, trial.LEAF_DAYS)
        files = authority.issue_files(arguments.directory, Role.SERVER, "trial", hosts=hosts, days=days, stem="server")
        print(f"server certificate  {files.certificate} ({', '.join(hosts)})")
    print(f"next                jukinet pki issue {arguments.directory} agency NAME")
    return OK


def issue(arguments: argparse.Namespace) -> int:
    authority = trial.TrialAuthority.load(arguments.directory)
    files = authority.issue_files(
        arguments.directory,
        arguments.role,
        arguments.body,
        hosts=arguments.host or (),
        days=arguments.days,
        stem=arguments.name,
    )
    print(f"certificate  {files.certificate}\nprivate key  {files.key}")
    return OK


def show(arguments: argparse.Namespace) -> int:
    root = trial.read_certificate(arguments.root) if arguments.root else None
    holds = True
    for position, path in enumerate(arguments.files):
        certificate = trial.read_certificate(path)
        print(("\n" if position else "") + describe(path, certificate))
        now = datetime.datetime.now(datetime.UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            holds = False
            print("  DOES NOT HOLD TODAY: issue a new one")
        if root is not None:
            issued = trial.issued_by(certificate, root)
            holds = holds and issued
            print(f"  issued by   {arguments.root}: {'yes' if issued else 'NO: another root signed it'}")
    return OK if holds else 1


def describe(path: Path, certificate: x509.Certificate) -> str:
    """What stands in a certificate, for people: identity, hosts, use, period, fingerprint."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        uris, hosts = [], []
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        use = ", ".join(USES.get(usage, usage.dotted_string) for usage in usages)
    except x509.ExtensionNotFound:
        use = "any"
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    period = (
        f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    )
    rows = [
        ("subject", certificate.subject.rfc4514_string()),
        ("identity", ", ".join(uris) or "none: not usable on the query port"),
        ("hosts", ", ".join(hosts) or "none"),
        ("use", use),
        ("holds", f"{period} ({left.days} days left)"),
        ("SHA-256", certificate.fingerprint(hashes.SHA256()).hex()),
    ]
    return "\n".join([str(path), *(f"  {label:<11} {value}" for label, value in rows)])
