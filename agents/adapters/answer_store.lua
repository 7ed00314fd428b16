-- HTTP answers by idempotency key; time is the server's. Safe to send twice.
-- KEYS[1] the key's hash. ARGV: 'claim', fingerprint, owner, lease, kept
--                           or: 'answer', owner, status, body, kept
--                           or: 'give_up', owner
-- A claim returns {outcome, status, body}.
local key, kind = KEYS[1], ARGV[1]
local held = redis.call('HMGET', key, 'fingerprint', 'owner', 'until', 'status', 'body')
if kind == 'claim' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local fingerprint, owner, lease_ms, kept_ms = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
  if held[1] and held[1] ~= fingerprint then
    return {'mismatch'}
  elseif held[4] then
    return {'answered', held[4], held[5]}
  elseif held[1] and held[2] ~= owner and tonumber(held[3]) > now then
    return {'in_flight'}
  end
  local lease_until = string.format('%d', now + lease_ms)
  redis.call('HSET', key, 'fingerprint', fingerprint, 'owner', owner, 'until', lease_until)
  redis.call('PEXPIRE', key, kept_ms)
  return {'ours'}
end
local ours = held[2] == ARGV[2] and not held[4]
if ours and kind == 'answer' then
  redis.call('HSET', key, 'status', ARGV[3], 'body', ARGV[4])
  redis.call('PEXPIRE', key, ARGV[5])
elseif ours and kind == 'give_up' then
  redis.call('DEL', key)
end
return {}
