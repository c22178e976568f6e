-- Shared: wakes up to n workers that wait for a queue's tasks, those first that have waited longest.
--
-- A waiting worker stands in w as "NODE/WAITER" with the time until which it waits. Each is woken once: it is taken out
-- and told on its node's channel. One whose node is gone (nobody receives) makes room for the next.
local function wake(queue, n)
  for _ = 1, 100 do
    if n <= 0 then return end
    local waiting = call('ZPOPMIN', key('w', queue))
    if not waiting[1] then return end
    if tonumber(waiting[2]) >= tonumber(call('TIME')[1]) * 1000 then
      local node, waiter = waiting[1]:match('^(.-)/(.*)$')
      if call('PUBLISH', prefix .. 'wake:' .. node, waiter) > 0 then n = n - 1 end
    end
  end
end
