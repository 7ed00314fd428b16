-- The step protocol inside the store, part 2 of 3: who may begin. The functions of
-- agents/kernel/protocol.py in the same order; tests/conformance/test_ledger.py holds them equal.

local function claim(ask, record, blob)
  record[OWNER], record[LEASE], record[FENCE] = ask.owner, now + ask.lease_ms, record[FENCE] + 1
  save(ask, ask.step, record, blob)
  return 'ours', record
end

local function contradicts(known, trigger)
  local id = string.match(trigger, '^[^#]*')
  return known ~= trigger and id ~= '' and string.match(known, '^[^#]*') == id
end

local function forward(ask, record)
  local state = record[STATE]
  if contradicts(record[TRIGGER], ask.trigger) then
    return 'contradicts', record
  elseif state == 'none' then
    local fresh = nothing()
    fresh[STATE], fresh[DIRECTION], fresh[TRIGGER] = 'inflight', 'forward', ask.trigger
    return claim(ask, fresh, '')
  elseif state == 'inflight' and not record[OPEN] then
    record[DOUBT] = true
    return claim(ask, record)
  elseif state == 'inflight' or state == 'done' then
    return 'republish', record
  elseif state == 'compensating' and record[DIRECTION] == 'settle' then
    return 'republish', record
  elseif state == 'dead' then
    return 'letter', record
  end
  return 'dropped', record
end

local function go_on(ask, record)
  local settles = ask.role == 'settle'
  local state = record[STATE]
  if state == 'dead' then
    return 'letter', record
  elseif state == 'stopped' or state == 'compensated' then
    return 'dropped', record
  elseif state == 'compensating' and (not settles or record[DIRECTION] == 'compensation') then
    return 'dropped', record
  elseif state == 'done' and not record[OPEN] then
    return 'republish', record
  elseif state == 'done' and not settles and record[OUTCOME] ~= ask.trigger_type then
    return 'republish', record
  end
  local taken_over = working(record)
  record[STATE] = settles and 'compensating' or 'inflight'
  record[DIRECTION] = settles and 'settle' or 'forward'
  record[TRIES] = taken_over and record[TRIES] or 0
  record[DOUBT] = taken_over
  record[OPEN] = true
  return claim(ask, record)
end

local function refuse_group(ask, others)
  for index, step in ipairs(ask.group) do
    local other = others[index]
    other[STATE], other[OWNER], other[LEASE], other[OPEN] = 'stopped', '', 0, false
    other[FENCE] = other[FENCE] + 1
    save(ask, step, other)
  end
end

local function compensate(ask, record, others)
  local undoing = record[DIRECTION] == 'compensation'
  if record[STATE] == 'compensated' then
    return 'republish', record
  elseif record[STATE] == 'dead' and undoing then
    return 'letter', record
  end
  refuse_group(ask, others)
  if record[STATE] == 'compensating' and undoing then
    record[DOUBT] = true
    return claim(ask, record)
  end
  record[STATE], record[DIRECTION] = 'compensating', 'compensation'
  record[ATTEMPT], record[UNDO_KEY], record[TRIES] = 1, 1, 0
  record[DOUBT], record[OPEN], record[OUTCOME], record[PROGRESS] = false, false, '', ''
  return claim(ask, record, '')
end

local function stop(ask, record)
  if record[STATE] == 'none' then
    return 'ours', record
  elseif record[STATE] ~= 'stopped' then
    return 'begun', record
  elseif record[OPEN] and ask.role == 'confirm' then
    return 'ours', record
  end
  return 'republish', record
end

local function is_behind(record, ask)
  local state = record[STATE]
  local undoing = ask.letter_direction == 'compensation'
  if undoing ~= (record[DIRECTION] == 'compensation') then
    return undoing and state ~= 'compensated'
  elseif record[ATTEMPT] > ask.letter_attempt then
    return false
  end
  return state == 'none' or working(record) or (state == 'done' and record[OPEN])
    or (state == 'dead' and record[ATTEMPT] < ask.letter_attempt)
end

local function reopen(ask, record, others)
  local attempt = ask.letter_attempt + 1
  local undoing = record[DIRECTION] == 'compensation'
  local going_forward = record[DIRECTION] == 'forward'
  if undoing then
    refuse_group(ask, others)
  end
  record[STATE], record[ATTEMPT] = going_forward and 'inflight' or 'compensating', attempt
  if ask.letter_known and going_forward then
    record[KEY] = attempt
  elseif ask.letter_known then
    record[UNDO_KEY] = attempt
  end
  record[TRIES], record[DOUBT], record[OUTCOME] = 0, not ask.letter_known, ''
  return claim(ask, record, '')
end

local function decide(ask, record, others)
  if is_behind(record, ask) then
    text[record] = nil
    record[STATE], record[ATTEMPT] = 'dead', ask.letter_attempt
    record[DIRECTION] = ask.letter_direction
    record[OPEN] = record[OPEN] and ask.letter_direction ~= 'compensation'
  end
  local state = record[STATE]
  if record[DIRECTION] == 'compensation' and ask.letter_direction ~= 'compensation' then
    return 'stale', record
  elseif record[ATTEMPT] == ask.letter_attempt + 1 then
    if working(record) and record[OUTCOME] ~= '' then
      return 'republish', record
    elseif working(record) then
      record[DOUBT] = true
      return claim(ask, record)
    elseif state == 'done' or state == 'compensated' then
      return 'republish', record
    elseif state == 'dead' then
      return 'letter', record
    end
  elseif state == 'dead' and record[ATTEMPT] == ask.letter_attempt then
    return reopen(ask, record, others)
  end
  return 'stale', record
end

local begin_by_role = {
  forward = forward, continue = go_on, settle = go_on, compensate = compensate,
  stop = stop, confirm = stop, decide = decide,
}

local function begin_after_the_end(ask, over)
  if ask.role == 'stop' or ask.role == 'confirm' then
    return 'begun', over
  elseif ask.role == 'decide' then
    return 'stale', over
  elseif ask.step == 'place' and over[TRIGGER] ~= '' and ask.trigger ~= over[TRIGGER] then
    return 'contradicts', over
  end
  return 'dropped', over
end

-- Returns verdict, record and the step whose record it is.
local function begin(key, q)
  local ask = {
    key = key, step = q[3], role = q[4], owner = q[5], lease_ms = q[6], trigger = q[7],
    trigger_type = q[8], group = q[9], letter_attempt = q[10], letter_direction = q[11],
    letter_known = q[12],
  }
  local found = redis.call('HMGET', key, 'over', ask.step, unpack(ask.group))
  if found[1] then
    return begin_after_the_end(ask, over_of(found[1]))
  end
  local record, others = parse(found[2]), {}
  for index = 1, #ask.group do
    others[index] = parse(found[index + 2])
  end
  if ask.role ~= 'stop' and ask.role ~= 'confirm' then
    if working(record) and record[LEASE] > now then
      return record[OWNER] == ask.owner and 'ours' or 'busy', record, ask.step
    end
    for index, other in ipairs(others) do
      if working(other) and other[LEASE] > now then
        return 'busy', other, ask.group[index]
      end
    end
  end
  local verdict, answer = begin_by_role[ask.role](ask, record, others)
  return verdict, answer, ask.step
end
