"""Every limit in one place: lengths, counts, queues and waits. Units stand last in each name.

A limit that an operator may change is the default of a setting (docs/configuration.md); others belong to a format.
"""

from __future__ import annotations

from typing import Final

# Record codec (docs/store-format.md): lengths are UTF-8 bytes and stand in one byte each.
NAME_BYTES_MAX: Final = 255
KANA_BYTES_MAX: Final = 255
ALIAS_BYTES_MAX: Final = 255
ADDRESS_REST_BYTES_MAX: Final = 255
TOWN_BYTES_MAX: Final = 255
ADDRESS_BYTES_MAX: Final = TOWN_BYTES_MAX + ADDRESS_REST_BYTES_MAX
RECORD_BYTES_MAX: Final = 1_100
"""Four texts, their lengths, birth date, sex, town, successor code, update number, and room for later parts."""
AREAS_MAX: Final = 4_095
"""Area numbers take 12 bits; JIS X 0402 knows 1,892 current areas, and former ones stay."""
TOWNS_MAX: Final = (1 << 24) - 1
TOWNS_PER_ANSWER_MAX: Final = 8_192
"""Of a TOWNS (docs/protocol.md, 3.11): 2 MiB of answer at the most."""

# Blocks and tables.
BLOCK_BYTES_MIN: Final = 2_048
"""Smaller values would sit inside a leaf page and move when a neighbour changes."""
BLOCK_ENTRIES_MAX: Final = 65_535
BLOCK_RECORDS_BYTES_MAX: Final = 65_535
"""A record's place in its block takes two bytes."""
BUCKET_WIDTH_MAX: Final = 1 << 32
RESIDENT_KEYS: Final = 10_000_000_000
"""Keys of the resident table: the first ten digits of a code."""
RESIDENTS_PER_BLOCK: Final = 60
"""A resident of the synthetic nation takes 59 bytes in a block: 60 of them fill a page of 4,096 and one block in ten
needs a second page, which is where the store is smallest (76 bytes a resident on disk; 79 at 64, 77 at 56)."""
CHANGES_KEPT_TRANSACTIONS: Final = 4_096
"""Change lists kept; a reader further behind rebuilds its directory in full."""

# Identity index (docs/identity-index.md).
IDENTITY_ENTRIES_PER_BLOCK: Final = 1_500
"""12 KB: names are unevenly frequent, so half a page of each block is lost whatever its size."""
IDENTITY_TEXT_BUCKETS_MAX: Final = 1 << 24
IDENTITY_DATE_BUCKETS_MAX: Final = 2_048
"""Buckets of one birth date: 3 million births a day at most."""
IDENTITY_DIRECT_BUCKETS_MAX: Final = 16_384
"""Buckets up to which a range of a load, of 65,536 rows, is merged at once: beyond, each row has a block of its own."""
IDENTITY_LATE_ROWS_MAX: Final = 4_000_000
"""Rows of a load whose entries are merged together: 600 MB of memory while they are sorted."""
IDENTITY_VISITED_MAX: Final = 65_536
"""Entries that one list or scan looks at; the nation's commonest birth date has about 6,000."""
IDENTITY_DATE_FILTERS_MAX: Final = 16

# Wire (docs/protocol.md).
FRAME_HEADER_BYTES: Final = 16
CONTROL_BYTES_MAX: Final = 65_536
CODES_PER_REQUEST_MAX: Final = 65_536
HISTORY_CODES_MAX: Final = 1_024
"""Codes of one HISTORY, whatever the session allows: earlier records are looked for one by one."""
HISTORY_ROWS_MAX: Final = 65_536
"""Earlier records in one answer."""
REQUEST_BYTES_MAX: Final = 64 * 1_024 * 1_024
"""A VERIFY of 65,536 rows with the longest texts would pass this and must be split."""
ANSWER_BYTES_MAX: Final = 128 * 1_024 * 1_024
REQUESTS_IN_FLIGHT_MAX: Final = 16
SESSIONS_PER_CONNECTION_MAX: Final = 16
OPERATOR_BYTES_MAX: Final = 64
REASON_BYTES_MAX: Final = 512
CASE_REFERENCE_BYTES_MAX: Final = 128
AFFAIR_ITEM_BYTES_MAX: Final = 16
AFFAIR_SCHEDULE_MAX: Final = 5
AFFAIR_NUMBER_MAX: Final = 65_535
CLAIM_TEXT_BYTES_MAX: Final = 1_024
"""One name or address of a VERIFY."""
SEARCH_QUESTIONS_MAX: Final = 1_024
"""Questions of one SEARCH, whatever the session allows: each may have SEARCH_HITS_MAX persons in the answer."""
SEARCH_BEGINNINGS_MAX: Final = 16
"""Questions of one SEARCH by beginnings of names: each looks at everybody born on a day."""
SEARCH_HITS_MAX: Final = 64
"""Persons of one question of a SEARCH; the cap of an affair is at most this."""
MATCH_CANDIDATES_MAX: Final = 1_280
"""Records read and compared for one row of a SEARCH or MATCH, all steps together (docs/matching.md, section 6)."""
MATCH_LISTED_MAX: Final = 8_192
"""People of one name or reading of whom a row without a birth date has the areas looked at; more are too many."""
COHORT_NAME_BYTES: Final = 32
"""A cohort's name stands in so many bytes, filled up with zeros."""
GOODBYE_REASON_BYTES_MAX: Final = 256
IDLE_SECONDS_MAX: Final = 600
ERROR_MESSAGE_BYTES_MAX: Final = 1_024

assert RECORD_BYTES_MAX > NAME_BYTES_MAX + KANA_BYTES_MAX + ALIAS_BYTES_MAX + ADDRESS_REST_BYTES_MAX
assert CODES_PER_REQUEST_MAX * 8 < REQUEST_BYTES_MAX
assert CODES_PER_REQUEST_MAX * 8 + CONTROL_BYTES_MAX < REQUEST_BYTES_MAX <= ANSWER_BYTES_MAX
assert BLOCK_BYTES_MIN >= 2_048
assert TOWNS_PER_ANSWER_MAX * (TOWN_BYTES_MAX + 4) + 4 * AREAS_MAX + CONTROL_BYTES_MAX < ANSWER_BYTES_MAX
assert SEARCH_QUESTIONS_MAX * SEARCH_HITS_MAX <= CODES_PER_REQUEST_MAX  # a record of use holds no more provisions
assert HISTORY_ROWS_MAX * (NAME_BYTES_MAX + 3 * KANA_BYTES_MAX + ALIAS_BYTES_MAX + ADDRESS_BYTES_MAX + 64) < (
    ANSWER_BYTES_MAX
)

# Feeds (docs/protocol.md, part II).
PREFECTURES: Final = 47
NOTIFICATIONS_PER_BATCH_MAX: Final = 10_000
RANGE_ROWS_MAX: Final = 65_536
NOTIFICATION_FIXED_BYTES: Final = 3 + 4 * 4 + 2 * 8 + 4 * 4
"""Bytes of a row beside its texts."""
NOTIFICATION_BYTES_MAX: Final = (
    NOTIFICATION_FIXED_BYTES + NAME_BYTES_MAX + KANA_BYTES_MAX + ALIAS_BYTES_MAX + ADDRESS_BYTES_MAX
)
BATCH_BYTES_MAX: Final = 32 * 1_024 * 1_024
"""A full range of residents with texts of 400 bytes; a full batch of the longest texts is less than half of it."""
FEED_REQUESTS_IN_FLIGHT_MAX: Final = 8
SEQUENCE_MAX: Final = (1 << 48) - 1
"""A feed's sequence number shares 64 bits with its prefecture in the keys of quarantine."""
DIGEST_LEAF_KEYS: Final = 2_441_407
"""Digests of holdings are kept for each leaf, a 4,096th part of all keys (docs/store-format.md). The smallest prime
with which so many leaves hold all keys: not a divisor of any bucket width by accident."""
DIGEST_LEAVES_PER_PAGE: Final = 64
DIGEST_PAGES: Final = 64
COMPARE_RANGES_MAX: Final = 4_096
COMPARED_ROWS_MAX: Final = 262_144
"""Digests or entries in one answer: 6 MiB. A leaf of the largest prefecture holds about 3,000 entries."""
NOTICES_MAX: Final = 1_000
"""Move-in notices in one answer, and numbers in one receipt."""
NOTICE_ID_MAX: Final = (1 << 63) - 1
OPEN_NOTICES_PER_FEED_MAX: Final = 100_000
"""Move-in notices of one prefecture that were not received: about three months of a large one's moves in."""
FEED_ANSWER_BYTES_MAX: Final = 2 * 1_024 * 1_024
"""Answers of the feed protocol that list: faults of a batch or range, or notices with the longest texts."""
DIGEST_BYTES: Final = 16
UPDATE_NUMBER_MAX: Final = 65_535
CONTRIBUTIONS_PER_KEY_MAX: Final = 1_000
"""Notifications kept under one code: more than a life brings. Those of a usual block fit its history's count."""
MOVE_OUT_DAYS_AHEAD_MAX: Final = 366
"""A move out is notified with the day on which it is planned."""
EVENT_DAYS_AHEAD_MAX: Final = 1
"""Room for clocks on both sides of midnight."""

assert NOTIFICATIONS_PER_BATCH_MAX <= RANGE_ROWS_MAX
assert CONTRIBUTIONS_PER_KEY_MAX * RESIDENTS_PER_BLOCK < BLOCK_ENTRIES_MAX
assert RECORD_BYTES_MAX < BLOCK_RECORDS_BYTES_MAX
assert DIGEST_LEAF_KEYS * DIGEST_LEAVES_PER_PAGE * DIGEST_PAGES >= RESIDENT_KEYS
assert DIGEST_LEAVES_PER_PAGE * COMPARE_RANGES_MAX <= COMPARED_ROWS_MAX
assert RANGE_ROWS_MAX * 12 + CONTROL_BYTES_MAX < FEED_ANSWER_BYTES_MAX
assert NOTICES_MAX * (NOTIFICATION_BYTES_MAX + 64) + CONTROL_BYTES_MAX < FEED_ANSWER_BYTES_MAX
assert NOTIFICATIONS_PER_BATCH_MAX * NOTIFICATION_BYTES_MAX + CONTROL_BYTES_MAX < BATCH_BYTES_MAX
assert RANGE_ROWS_MAX * (NOTIFICATION_FIXED_BYTES + 400) < BATCH_BYTES_MAX

# Authority and operators (docs/authority.md, docs/operators.md).
PUBLIC_KEY_TEXT_BYTES_MAX: Final = 1_024
"""Base64 of the longest key that is taken: RSA of 4,096 bits has 736."""
SIGNATURE_BYTES_MAX: Final = 512
"""Of RSA with 4,096 bits."""
OPERATORS_PER_CONNECTION_MAX: Final = 64
OPERATOR_FAILURES_PER_CONNECTION_MAX: Final = 10
OPERATOR_PROOF_SECONDS: Final = 60.0
"""A client with a key proves again before it asks when its last proof is older (docs/protocol.md, 3.10)."""
NONCE_BYTES: Final = 32
SALT_BYTES_MAX: Final = 64
PASSWORD_MEMORY_KIBIBYTES_MAX: Final = 1_048_576
"""What a client is willing to spend on Argon2id, whatever a server asks for."""
PASSWORD_ITERATIONS_MAX: Final = 32
PASSWORD_LANES_MAX: Final = 16
AUTHORITY_VERSIONS_MAX: Final = 9_999
"""Versions of a history: one a working day for 40 years."""
AUTHORITY_RECORD_BYTES_MAX: Final = 65_536

# Record of use (docs/record-of-use.md).
SEGMENT_BYTES_MAX: Final = 256 * 1_024 * 1_024
"""Default size at which a new segment begins: about 40 M provisions in bulk, about 1 M single requests."""
SEGMENT_STEP_BYTES: Final = 16 * 1_024 * 1_024
"""Room reserved at a time, so that fdatasync seldom has a new size to write."""
RECORD_BUFFER_BYTES_MAX: Final = 64 * 1_024 * 1_024
"""Records in memory that wait for one commit: 10 M provisions."""
FREE_BYTES_MIN: Final = 256 * 1_024 * 1_024
"""Default room that must stay free on the file system of the record of use."""
RECORD_HEAD_BYTES_MAX: Final = 4_096
WORKERS_MAX: Final = 1_000

assert RECORD_HEAD_BYTES_MAX > OPERATOR_BYTES_MAX + REASON_BYTES_MAX + CASE_REFERENCE_BYTES_MAX + 256
assert RECORD_BUFFER_BYTES_MAX > CODES_PER_REQUEST_MAX * 7 + RECORD_HEAD_BYTES_MAX

# The tree over the record of use (docs/record-of-use.md, chapters 7 to 14).
NOTE_BYTES_MAX: Final = 32_768
CONSISTENCY_BYTES_MAX: Final = 128 * 32
"""A consistency proof: at most twice as many hashes as the tree has levels."""
SIGNATURE_LINE_BYTES_MAX: Final = 512
NOTE_SIGNATURES_MAX: Final = 64
"""The log and its witnesses: 47 prefectures and some others."""
STATEMENT_BYTES_MAX: Final = 16 * 1_024 * 1_024
"""The statement of a segment with its tallies: about 100,000 different affairs, bodies and functions."""
RUN_ENTRIES_MAX: Final = 8 * 1_024 * 1_024
"""Entries after which runs are not merged further; sorting so many takes 256 MiB."""
SEGMENT_SECONDS_MAX: Final = 3_600
"""Default age at which a worker begins a new segment, so that the old one can be sealed."""
INTERACTIVE_PROVISIONS_MAX: Final = 64
"""Provisions of one record up to which the ledger counts it as interactive (即時提供), not bulk (一括提供)."""
RECORD_RETENTION_YEARS: Final = 7
"""Default period for which records of use are kept (domain: practice of the public bodies)."""

assert PREFECTURES < NOTE_SIGNATURES_MAX
assert NOTE_BYTES_MAX + CONSISTENCY_BYTES_MAX + 1_024 < CONTROL_BYTES_MAX
assert NOTE_SIGNATURES_MAX * SIGNATURE_LINE_BYTES_MAX <= NOTE_BYTES_MAX
