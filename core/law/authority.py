"""The authority of every body, loaded from a file: what the server asks about rights (docs/authority.md)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jukinet.core.errors import NotAuthorisedError
from jukinet.core.law.authority_file import Approver, read_authority
from jukinet.core.law.grant import Affair, BodyAuthority, Grant, day_in_japan
from jukinet.core.matching.columns import MatchRules
from jukinet.core.vocabulary import Function

__all__ = ["Affair", "Authority", "BodyAuthority", "Grant", "NotAuthorisedError", "day_in_japan"]


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """A whole authority file, immutable: a reload makes a new one."""

    title: str
    digest: str
    """SHA-256 of the file's bytes in hexadecimal: which file was in force."""
    bodies: dict[tuple[str, str], BodyAuthority]
    approvers: dict[str, Approver]
    parameters: dict[str, str]
    """SHA-256 of each file of model parameters, by its name as written."""
    version: int = 0
    """Number in the history; 0 for a single file."""
    record: str = ""
    """SHA-256 of the version's record in the history, in hexadecimal; empty for a single file."""

    @classmethod
    def load(cls, path: str | Path) -> Authority:
        """Read and check an authority file. Raises ConfigurationError that names file, line, table, key and remedy."""
        found = read_authority(Path(path))
        return cls(
            title=found.title,
            digest=found.digest,
            bodies=found.bodies,
            approvers=found.approvers,
            parameters=found.parameters,
        )

    def body(self, role: str, name: str) -> BodyAuthority | None:
        """The body that a certificate's SAN URI ``urn:jukinet:ROLE:BODY`` names; None when it has no authority here."""
        return self.bodies.get((role, name))

    def match_rules(self) -> list[MatchRules]:
        """The rules of all affairs that have SEARCH or MATCH: whose parameters a server makes ready."""
        grants = (grant for body in self.bodies.values() for periods in body.grants.values() for grant in periods)
        return [grant.matching for grant in grants if grant.functions & (Function.SEARCH | Function.MATCH)]
