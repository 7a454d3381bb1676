"""The matching models that a server keeps: one for each parameter file, made ready before anybody waits for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jukinet.core.matching.batch import model_for
from jukinet.core.matching.columns import MatchRules
from jukinet.core.matching.model import Model

MODELS_MAX: Final = 16
"""Parameter files in use at a time; each takes some megabytes."""
RESIDENTS_CHANGE: Final = 0.05
"""A model knows how many residents there are; it is made anew when they are more or fewer by this share."""


class Models:
    """Invariant: each model was made from the file that its key names, as the authority file's reader found it."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], tuple[int, Model]] = {}

    def prepare(self, rules: Iterable[MatchRules], residents: int) -> None:
        """Make the models of these rules ready, and forget others: at the start and after a reload, in any thread.

        Raises ConfigurationError for a parameter file that cannot be used; nothing has changed then.
        """
        kept: dict[tuple[str, str], tuple[int, Model]] = {}
        for each in rules:
            key = (each.parameters, each.parameters_digest)
            if key not in kept and len(kept) < MODELS_MAX:
                kept[key] = (residents, self.model(each, residents))
        self._models = kept

    def model(self, rules: MatchRules, residents: int) -> Model:
        """The model of the rules for a register of so many people. Raises ConfigurationError."""
        key = (rules.parameters, rules.parameters_digest)
        found = self._models.get(key)
        if found is not None and abs(found[0] - residents) <= RESIDENTS_CHANGE * found[0]:
            return found[1]
        model = model_for(rules, residents)
        if len(self._models) >= MODELS_MAX:
            self._models.clear()
        self._models[key] = (residents, model)
        return model
