"""Questions answered from the store in place: lookup, status and verification of whole batches."""

from jukinet.core.index.history import HistoryBatch
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.index.status import StatusBatch
from jukinet.core.index.verify import VerifyBatch

__all__ = ["HistoryBatch", "LookupBatch", "StatusBatch", "VerifyBatch"]
