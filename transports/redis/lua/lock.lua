-- Shared by every script that looks at a lock.
--
-- The record of a lock is packed: byte 1 its version (1), then three doubles in microseconds of the store's clock, namely
-- the last fence given, the end of the lease (0: released) and how long the record is kept, then a byte that is 1 when
-- somebody waits to be woken; the rest is who holds it. The record outlives the lease, because it remembers the fence.
-- Doubles are exact to 2^53, which microseconds reach in the year 2255.
--
-- Nothing more is shared, and nothing parsed from text, on purpose: a script runs from its first line at each call, and
-- with functions and patterns here a lock took twice the time.
local RECORD, HEADER, VERSION = '>BdddB', 26, 1
local MEMORY = 86400000000 -- µs for which a fence is remembered after its lease: a day
