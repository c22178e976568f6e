-- Shared: a task as the inspector reads it, 7 fields: task, ms since when it is in its state or '', ms when its lease or
-- retention ends or '', token of its lease or '', record, state, result.
local shown = 0 -- bytes of records and results

local function show(reply, queue, task, since, expires, token)
  local record = record_of(queue, task)
  local fields = {
    task, since, expires, token, record .. rest_of(queue, task, record),
    call('HGET', key('m', queue), task) or '', call('HGET', key('r', queue), task) or '',
  }
  shown = shown + #fields[5] + #fields[7]
  for _, field in ipairs(fields) do reply[#reply + 1] = field end
end

-- Shows a member of one of the sorted sets.
local function show_member(reply, queue, kind, member, score)
  if kind == 'a' then
    local task = task_of(member)
    return show(reply, queue, task, '', score, member:sub(#task + 1))
  elseif kind == 'c' then
    local expires = call('ZSCORE', key('x', queue), member) or '0'
    if tonumber(expires) > now then show(reply, queue, member, score, expires, '') end
    return
  end
  show(reply, queue, member, kind == 's' and '' or score, '', '')
end
