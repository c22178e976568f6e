-- Stores one task that is pending at once, of level 0, without a unique key, with an ID that nobody chose, and wakes a
-- waiting worker: what queue_enqueue.lua does for many, for the caller who is alone. It is kept small, because a script
-- that defines as much as the other one runs half as long again.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue   2 task   3 record
-- Returns 1, or 0 if the other script has to look at it: nothing was done.
-- Cost: 5 calls, and 3 more to wake a worker.
local queue, task = ARGV[1], ARGV[2]
if (call('HGET', key('q', queue), 'stale') or '0') ~= '0' then return 0 end
if call('HSETNX', key('t', queue), task, ARGV[3]) == 0 then return 0 end
call('RPUSH', key('p', queue), task)
if call('HINCRBY', key('n', queue), 'enqueued', 1) == 1 then call('SADD', prefix .. 'queues', queue) end
wake(queue, 1)
return 1
