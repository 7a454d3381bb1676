"""The register on disk: one LMDB environment, its tables of blocks, its directory and its builders."""
