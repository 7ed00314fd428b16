-- The step protocol inside the store, part 3 of 3: touch, finish, read, compact, and the batch.
--
-- KEYS  the epoch; the orders' keys are made here, since each argument costs the client more
-- ARGV  the epoch that the client knows; the time ('' for the server's own; tests alone send it);
--       the prefix of the orders' keys; the requests as JSON; their blobs, one after the other
-- Returns {'doubtful', epoch or ''} and does nothing, or {'ok', replies as JSON, their blobs...}.
-- A reply is [verdict, record, blob], with blob 0 for none, -1 for the one that was sent.

local function touch(key, q)
  local step, owner, fence = q[3], q[4], q[5]
  local record = parse(redis.call('HGET', key, step))
  if not working(record) or record[OWNER] ~= owner or record[FENCE] ~= fence then
    return 'lost', record, step
  end
  record[LEASE], record[TRIES], record[DOUBT], record[PROGRESS] = now + q[6], q[7], q[8], q[9]
  save({key = key}, step, record)
  return 'ok', record, step
end

local function finish(key, q)
  local step, owner, fence, state, unclaimed = q[3], q[4], q[5], q[6], q[10]
  local found = redis.call('HMGET', key, 'over', step)
  if found[1] or (q[11] ~= 0 and q[11] ~= tonumber(ARGV[1])) then
    return 'lost', nothing(), step
  end
  local record = parse(found[2])
  local busy = working(record)
  local left = unclaimed and fence + 1 or fence
  if record[OWNER] == owner and record[STATE] == state and record[FENCE] == left and not busy then
    return 'ok', record, step
  end
  local ours = busy and record[OWNER] == owner
  if unclaimed then
    ours = record[STATE] == 'none' or (record[STATE] == 'stopped' and record[OPEN])
  end
  if not ours or record[FENCE] ~= fence then
    return 'lost', record, step
  end
  local blob = string.sub(ARGV[5], q[12] + 1, q[12] + q[13])
  record[OPEN] = q[8] or (state == 'dead' and record[OPEN])
  record[STATE], record[OWNER], record[LEASE], record[FENCE] = state, owner, 0, left
  record[OUTCOME], record[PROGRESS] = q[7], ''
  record[DIRECTION] = q[9] ~= '' and q[9] or record[DIRECTION]
  save({key = key}, step, record, blob)
  return 'ok', record, step, true
end

local function written(key, record, step, sent)
  local reference = 0
  if record[BLOB] and sent then
    reference = -1
  elseif record[BLOB] then
    answer[#answer + 1] = redis.call('HGET', key, '=' .. step)
    reference = #answer - 2
  end
  return (text[record] or cjson.encode(record)) .. ',' .. reference
end

local function read(key)
  local all, parts = redis.call('HGETALL', key), {}
  for index = 1, #all, 2 do
    local step = all[index]
    if string.sub(step, 1, 1) ~= '=' then
      local record = step == 'over' and over_of(all[index + 1]) or parse(all[index + 1])
      parts[#parts + 1] = '[' .. cjson.encode(step) .. ',' .. written(key, record, step) .. ']'
    end
  end
  return '["ok",[' .. table.concat(parts, ',') .. ']]'
end

-- Compared by name and not sorted: the server's locale decides how Lua compares strings.
local function fences_are(key, expected)
  local count = 0
  for _, field in ipairs(redis.call('HKEYS', key)) do
    count = count + (string.sub(field, 1, 1) ~= '=' and 1 or 0)
  end
  if count ~= #expected then
    return false
  end
  for _, pair in ipairs(expected) do
    local raw = redis.call('HGET', key, pair[1])
    if not raw or parse(raw)[FENCE] ~= pair[2] then
      return false
    end
  end
  return true
end

local function compact(key, q)
  if redis.call('HEXISTS', key, 'over') == 1 then
    return 'ok', nothing(), ''
  elseif not fences_are(key, q[3]) then
    return 'lost', nothing(), ''
  end
  local place = parse(redis.call('HGET', key, 'place'))
  redis.call('DEL', key)
  redis.call('HSET', key, 'over', place[TRIGGER])
  redis.call('PEXPIRE', key, q[4])
  return 'ok', nothing(), ''
end

local epoch = redis.call('GET', KEYS[1])
if epoch ~= ARGV[1] then
  return {'doubtful', epoch or ''}
end
local by_kind = {begin = begin, touch = touch, finish = finish, compact = compact}
local replies = {}
for index, q in ipairs(cjson.decode(ARGV[4])) do
  local key = ARGV[3] .. q[2]
  if q[1] == 'read' then
    replies[index] = read(key)
  else
    local verdict, record, step, sent = by_kind[q[1]](key, q)
    replies[index] = '["' .. verdict .. '",' .. written(key, record, step, sent) .. ']'
  end
end
answer[2] = '[' .. table.concat(replies, ',') .. ']'
return answer
