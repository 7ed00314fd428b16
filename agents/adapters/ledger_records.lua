-- The step protocol inside the store, part 1 of 3: how records are kept. One hash an order: field
-- `<step>` is the record as a JSON array, field `=<step>` its blob (so that a new header does not
-- rewrite it), field `over` the trigger of `place`, all that is left of a compacted saga.

local STATE, OWNER, LEASE, FENCE, TRIES, ATTEMPT, KEY, UNDO_KEY = 1, 2, 3, 4, 5, 6, 7, 8
local DOUBT, DIRECTION, TRIGGER, OUTCOME, OPEN, PROGRESS, BLOB = 9, 10, 11, 12, 13, 14, 15

local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local text = {} -- The JSON of a record that is stored as it is.
local answer = {'ok', ''} -- The replies, then the blobs that they refer to.

local function nothing()
  return {'none', '', 0, 0, 0, 1, 1, 1, false, '', '', '', false, '', false}
end

local function parse(raw)
  if not raw then
    return nothing()
  end
  local record = cjson.decode(raw)
  text[record] = raw
  return record
end

local function over_of(trigger)
  local over = nothing()
  over[STATE], over[TRIGGER] = 'over', trigger
  return over
end

-- Stores a record; `blob` nil keeps the stored blob, '' removes it.
local function save(ask, step, record, blob)
  if blob == '' and record[BLOB] then
    redis.call('HDEL', ask.key, '=' .. step)
  end
  if blob then
    record[BLOB] = blob ~= ''
  end
  local raw = cjson.encode(record)
  text[record] = raw
  if blob and blob ~= '' then
    redis.call('HSET', ask.key, step, raw, '=' .. step, blob)
  else
    redis.call('HSET', ask.key, step, raw)
  end
end

local function working(record)
  return record[STATE] == 'inflight' or record[STATE] == 'compensating'
end
