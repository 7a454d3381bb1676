"""Certificates: a trial authority for development and demonstrations (docs/pki.md). Real ones come from a real CA."""

from jukinet.server.pki.trial import IssuedFiles, TrialAuthority, make_root, make_trial

__all__ = ["IssuedFiles", "TrialAuthority", "make_root", "make_trial"]
