-- Makes leases of any queues of a partition end one lease length from now.
--
-- KEYS  1 the partition's prefix
-- ARGV  groups: queue, leases n, n times task and token
-- Returns { positions from 1 of the lost ones as "3 17", positions of those whose task somebody asked to cancel }
-- Cost: 4 calls a group.
local lost, cancelled = {}, {}
local position = 0

local function extend(queue, from, to)
  local lease = tonumber(call('HGET', key('q', queue), 'lease') or 30000)
  local expires = string.format('%d', later + lease)
  local scores = call('ZMSCORE', key('a', queue), unpack(ARGV, from, to))
  local states = {}
  if call('EXISTS', key('m', queue)) == 1 then
    local tasks = {}
    for i = from, to do tasks[#tasks + 1] = task_of(ARGV[i]) end
    states = call('HMGET', key('m', queue), unpack(tasks))
  end
  local standing = {}
  for i = 1, #scores do
    if not scores[i] then
      lost[#lost + 1] = position + i
    else
      standing[#standing + 1] = expires
      standing[#standing + 1] = ARGV[from + i - 1]
      if states[i] and states[i]:match('^%d+ %d+ 1 ') then cancelled[#cancelled + 1] = position + i end
    end
  end
  if #standing > 0 then call('ZADD', key('a', queue), 'XX', unpack(standing)) end
end

local at = 1
while at < #ARGV do
  local n = tonumber(ARGV[at + 1])
  extend(ARGV[at], at + 2, at + 1 + n)
  position = position + n
  at = at + 2 + n
end
return { table.concat(lost, ' '), table.concat(cancelled, ' ') }
