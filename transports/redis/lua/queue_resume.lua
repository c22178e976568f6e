-- Lets a paused queue give tasks again, and wakes workers that wait for them.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue
-- Cost: 3 calls, and 2 for each worker woken, at most 100.
call('HDEL', key('q', ARGV[1]), 'paused')
call('SADD', prefix .. 'queues', ARGV[1])
wake(ARGV[1], 100)
return 1
