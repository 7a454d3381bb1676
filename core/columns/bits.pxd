# Bits of the protocol (docs/protocol.md) that kernels on both sides of the wire read and write.

cdef enum:
    # Items, chapter 5; vocabulary.Item says the same to Python.
    ITEM_NAME = 1
    ITEM_KANA = 2
    ITEM_ALIAS = 4
    ITEM_BIRTH_DATE = 8
    ITEM_SEX = 16
    ITEM_ADDRESS = 32
    ITEM_CHANGE = 64
    ITEM_CODE = 128
    # A row of a packed answer, 3.3.1.
    ROW_OUTCOME = 15
    ROW_KANA_UTF8 = 16
    ROW_ALIAS = 32
    ROW_SUCCESSOR = 64
