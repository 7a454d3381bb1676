"""Who may ask what: authority, items and functions as the law and its ordinances give them."""
