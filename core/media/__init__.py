"""Questions and answers of MATCH as signed files, for bodies without a line (docs/media.md)."""
