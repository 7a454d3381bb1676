"""A prefecture's side of the feeds: the durable outbox, readers of notifications, the sender, loading and comparing."""
