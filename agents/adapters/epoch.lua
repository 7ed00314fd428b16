-- Marks a store as complete: its epoch is the server's time when it was first marked.
-- KEYS[1] the epoch. Returns the epoch in force; safe to send twice.
local found = redis.call('GET', KEYS[1])
if found then
  return found
end
local time = redis.call('TIME')
local epoch = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[1], epoch)
return epoch
