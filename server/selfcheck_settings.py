"""Settings of the self-inspection: a section of the server's configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Selfcheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The self-inspection (docs/selfcheck.md). The server itself does not read this section."""

    key: Annotated[
        str, Meta(description="Ed25519 private key, PEM, that signs reports (`jukinet selfcheck key`). Empty: none.")
    ] = ""
    backup_directory: Annotated[
        str, Meta(description="Where backups are put. Empty: the report warns that nothing is known of them.")
    ] = ""
    backup_age_hours_max: Annotated[
        float, Meta(ge=0.01, le=87_600, description="The newest file there must not be older.")
    ] = 26.0
