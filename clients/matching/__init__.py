"""`jukinet match`: files of records as people have them, and results that can be read and passed on."""
