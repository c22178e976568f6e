-- Shared by the scripts of the queue: the names of keys.
--
-- KEYS[1] of each script is the partition's prefix with its hash tag, "{bp:NS:q0}:". All other keys are made from it and
-- lie in the same slot. The layout is in queue_keys.go.
local prefix = KEYS[1]
local call = redis.call

local function key(kind, queue) return prefix .. kind .. ':' .. queue end
