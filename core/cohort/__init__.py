"""Cohorts: the codes of an agency's own recipients, and what changed among them since a cursor (docs/cohorts.md)."""
