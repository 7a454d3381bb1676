"""The permission classes of operators (docs/operators.md, chapter 1)."""

from __future__ import annotations

from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.errors import NotAuthorisedError
from jukinet.core.law.grant import Grant
from jukinet.core.vocabulary import Function

ENQUIRY: Final = Function.LOOKUP | Function.STATUS | Function.VERIFY
INTERACTIVE_CODES: Final = 64


class OperatorClass(msgspec.Struct, frozen=True, kw_only=True):
    """What a class allows. functions: mask. ends_on_idle: whether silence ends it. needs_key: no password will do."""

    name: str
    functions: int
    codes_per_request_max: int = limits.CODES_PER_REQUEST_MAX
    ends_on_idle: bool = True
    needs_key: bool = False

    def narrow(self, grant: Grant) -> Grant:
        """What authority and class allow together. Raises NotAuthorisedError when that is nothing."""
        functions = grant.functions & self.functions
        if not functions:
            raise NotAuthorisedError(f"operators of the class {self.name} may do nothing that this affair allows")
        codes = min(grant.codes_per_request_max, self.codes_per_request_max)
        return msgspec.structs.replace(grant, functions=functions, codes_per_request_max=codes)


CLASSES: Final = {
    made.name: made
    for made in (
        OperatorClass(name="enquiry", functions=int(ENQUIRY), codes_per_request_max=INTERACTIVE_CODES),
        OperatorClass(
            name="search",
            functions=int(ENQUIRY | Function.HISTORY | Function.SEARCH),
            codes_per_request_max=INTERACTIVE_CODES,
        ),
        OperatorClass(
            name="bulk", functions=int(ENQUIRY | Function.HISTORY | Function.SEARCH | Function.MATCH | Function.COHORT)
        ),
        OperatorClass(
            name="batch",
            functions=int(ENQUIRY | Function.HISTORY | Function.MATCH | Function.COHORT),
            ends_on_idle=False,
            needs_key=True,
        ),
    )
}
