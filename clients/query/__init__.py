"""Parts of the query commands (`jukinet lookup` and others): settings, codes in, answers out, the resumable job."""
