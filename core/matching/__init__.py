"""Finding persons by name, birth date, sex and address: SEARCH, and MATCH, its bulk form."""
