"""A synthetic nation: a believable population that is a pure function of a seed (docs/synthetic-nation.md)."""
