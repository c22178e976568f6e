-- Shows one task, in whatever state.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue   2 task
-- Returns the kind of key that holds it (see queue_where.lua; '' if there is none) and its 7 fields (queue_show.lua).
-- Cost: about 10 calls, and for a pending or active one as much as there are active tasks.
local queue, task = ARGV[1], ARGV[2]
local kind, score = where(queue, task)
local reply = { kind or '' }
if kind == 'a' then
  show_member(reply, queue, kind, score, call('ZSCORE', key('a', queue), score))
elseif kind == 'p' then
  show(reply, queue, task, '', '', '')
elseif kind then
  show_member(reply, queue, kind, task, score)
end
return reply
