"""Questions answered from the store in place: lookup, status and verification of whole batches."""
