"""The identity index: from folded names, readings and birth dates to keys of residents (docs/identity-index.md)."""
