-- The tracker's store: a hash an order, and sorted sets that find orders.
--
-- KEYS  the epoch; all others are made here, since each argument costs the client more
-- ARGV  the epoch that the client knows; the prefix of all keys; the request as JSON
-- Returns {'doubtful', epoch or ''} and does nothing, or {'ok', rows as JSON}.
--
-- Fields of a row: `f:<event>` time, id, cause and reason between unit separators; `o:<letter>` the text of
-- an opened letter and `c:<letter>` for a closed one, never removed, so that the order of arrival
-- does not matter; `snapshot`; `deadline`; `filed`, what the sorted sets say of it.

local prefix = ARGV[2]

local function row_of(order)
  return prefix .. 'row:' .. order
end

local function bytes_less(a, b) -- Lua's own < follows the server's locale.
  for index = 1, math.min(#a, #b) do
    local left, right = string.byte(a, index), string.byte(b, index)
    if left ~= right then
      return left < right
    end
  end
  return #a < #b
end

local function earlier(fact, known)
  local time, id = string.match(fact, '^(%d+)\31([^\31]*)')
  local known_time, known_id = string.match(known, '^(%d+)\31([^\31]*)')
  time, known_time = tonumber(time), tonumber(known_time)
  return time < known_time or (time == known_time and bytes_less(id, known_id))
end

-- A sighting is [order, event, fact, snapshot, deadline, letter opened, its text, letter closed].
local function merge(key, sighting)
  local event, fact, deadline = sighting[2], sighting[3], sighting[5]
  if event ~= '' then
    local known = redis.call('HGET', key, 'f:' .. event)
    if not known or earlier(fact, known) then
      redis.call('HSET', key, 'f:' .. event, fact)
    end
  end
  if sighting[4] ~= '' then
    redis.call('HSETNX', key, 'snapshot', sighting[4])
  end
  if deadline > 0 then
    local known = tonumber(redis.call('HGET', key, 'deadline'))
    if not known or deadline < known then
      redis.call('HSET', key, 'deadline', string.format('%d', deadline))
    end
  end
  if sighting[6] ~= '' then
    redis.call('HSETNX', key, 'o:' .. sighting[6], sighting[7])
  end
  if sighting[8] ~= '' then
    redis.call('HSETNX', key, 'c:' .. sighting[8], '1')
  end
end

local function list_of(live, status)
  return prefix .. (live and 'live:' or 'ended:') .. status
end

-- An entry is [order, version, status, live, started, due].
local function file(key, entry, kept_ms, listed_max)
  local order, version, status, live, started = entry[1], entry[2], entry[3], entry[4], entry[5]
  if redis.call('EXISTS', key) == 0 then
    return
  end
  local known = redis.call('HGET', key, 'filed')
  if known then
    local old = cjson.decode(known)
    if old[1] > version then
      return
    end
    if old[2] ~= status or old[3] ~= live then
      redis.call('ZREM', list_of(old[3], old[2]), order)
    end
    if old[3] ~= live then
      redis.call('ZREM', list_of(old[3], ''), order)
    end
  end
  redis.call('HSET', key, 'filed', cjson.encode({version, status, live}))
  for _, name in ipairs({'', status}) do
    local list = list_of(live, name)
    redis.call('ZADD', list, started, order)
    if not live then
      redis.call('ZREMRANGEBYRANK', list, 0, -listed_max - 1)
    end
  end
  if live and entry[6] > 0 then
    redis.call('ZADD', prefix .. 'due', entry[6], order)
  else
    redis.call('ZREM', prefix .. 'due', order)
  end
  if live then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIRE', key, kept_ms)
  end
end

-- The present orders, each as [order, [field, value, ...]]; one whose row is gone is unlisted.
local function rows_of(orders, lists)
  local rows = {}
  for _, order in ipairs(orders) do
    local fields = redis.call('HGETALL', row_of(order))
    if #fields > 0 then
      rows[#rows + 1] = cjson.encode({order, fields})
    else
      for _, list in ipairs(lists) do
        redis.call('ZREM', list, order)
      end
    end
  end
  return rows
end

local function find(lists, started_before, rows_max)
  local newest = {}
  for _, list in ipairs(lists) do
    local found = redis.call('ZREVRANGEBYSCORE', list, '(' .. string.format('%d', started_before),
      '-inf', 'WITHSCORES', 'LIMIT', 0, rows_max)
    for index = 1, #found, 2 do
      newest[#newest + 1] = {found[index], tonumber(found[index + 1])}
    end
  end
  table.sort(newest, function(a, b)
    if a[2] ~= b[2] then
      return a[2] > b[2]
    end
    return bytes_less(b[1], a[1])
  end)
  local orders = {}
  for index = 1, math.min(#newest, rows_max) do
    orders[index] = newest[index][1]
  end
  return rows_of(orders, lists)
end

local epoch = redis.call('GET', KEYS[1])
if epoch ~= ARGV[1] then
  return {'doubtful', epoch or ''}
end
local request = cjson.decode(ARGV[3])
local rows = {}
if request.kind == 'add' then
  for _, sighting in ipairs(request.sightings) do
    merge(row_of(sighting[1]), sighting)
  end
  rows = rows_of(request.orders, {})
elseif request.kind == 'file' then
  for _, entry in ipairs(request.entries) do
    file(row_of(entry[1]), entry, request.kept_ms, request.listed_max)
  end
elseif request.kind == 'get' then
  rows = rows_of({request.order}, {})
elseif request.kind == 'find' then
  local lists = {list_of(true, request.status), list_of(false, request.status)}
  rows = find(lists, request.started_before, request.rows_max)
elseif request.kind == 'due' then
  local orders = redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf',
    string.format('%d', request.now), 'LIMIT', 0, request.rows_max)
  rows = rows_of(orders, {prefix .. 'due'})
end
return {'ok', '[' .. table.concat(rows, ',') .. ']'}
