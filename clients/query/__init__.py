"""Parts of the commands `jukinet lookup`, `status` and `verify`: settings, codes in, answers out, the resumable job."""
