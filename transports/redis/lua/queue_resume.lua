-- Lets a paused queue give tasks again, and wakes workers that wait for them.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue
-- Cost: 2 calls, and 2 for each worker woken, at most 100.
call('HDEL', key('q', ARGV[1]), 'paused')
wake(ARGV[1], 100)
return 1
