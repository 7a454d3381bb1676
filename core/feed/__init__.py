"""The feeds in the register: digests of holdings, comparison, loading, and the engine that applies notifications."""
