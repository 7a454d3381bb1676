"""Errors of cohorts, each with the code under which it travels."""

from __future__ import annotations

from typing import ClassVar

from jukinet.core.errors import ErrorCode, JukinetError


class CohortError(JukinetError):
    """A cohort that does not exist, or a chunk of a registration that does not fit what came before it."""

    code: ClassVar[ErrorCode] = ErrorCode.BAD_REQUEST


class CohortLimitError(CohortError):
    """More codes or cohorts than a body may have."""

    code = ErrorCode.TOO_MANY_CODES


class CursorExpiredError(CohortError):
    """The journal does not reach back to the cursor: ask STATUS of all codes and begin with a new cursor."""

    code = ErrorCode.CURSOR_EXPIRED


class CohortStoreError(JukinetError):
    """The store of cohorts cannot be opened, read or written."""
