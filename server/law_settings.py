"""Settings of what is lawful: authority and operators; part of the server's configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Authority(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may ask what (docs/authority.md). A file is read again on SIGHUP, a history is followed."""

    file: Annotated[
        str,
        Meta(min_length=1, description="The authority file, or the directory of its history (docs/authority.md, 6)."),
    ]


class Operators(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks for a body (docs/operators.md)."""

    required: Annotated[
        bool,
        Meta(
            description="Open affair sessions only for operators who have proved who they are. false: a body's word is "
            "taken for its operators' names."
        ),
    ] = True
    database: Annotated[
        str, Meta(description="The operators' database, made by `jukinet operator`. Empty: nobody can log in.")
    ] = ""
    idle_seconds: Annotated[
        float,
        Meta(
            ge=0.1, le=86_400, description="Silence after which an operator must log in again; not of the class batch."
        ),
    ] = 900.0
    proof_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="How long an operator with a key may ask on one proof; then its card must sign again. At least "
            "120, for clients prove again each minute; not of the class batch. 0: one proof is enough.",
        ),
    ] = 300.0
    failures_max: Annotated[
        int, Meta(ge=1, le=100, description="Wrong proofs in a row after which an operator is locked.")
    ] = 5
