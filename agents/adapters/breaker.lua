-- The rules of agents/kernel/breaker_rules.py inside the store; a test holds the two equal.
--
-- KEYS[1] the breaker. ARGV: the time ('' for the server's own; tests alone send it); the policy as
-- JSON; 'look', or 'probe' and the owner, or 'report', its id, succeeded, failed and the prober.
-- Returns {state, retry at, now, prober}.

local KEPT_MS = 3600000 -- An hour: far longer than any window; an unused breaker leaves nothing.
local REPORTS_REMEMBERED, LOOK_AGAIN_MS = 64, 250

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local second = math.floor(now / 1000)
local policy = cjson.decode(ARGV[2])
local raw = redis.call('GET', KEYS[1])
local record = raw and cjson.decode(raw)
  or {retry_at = 0, prober = '', probe_until = 0, counts = {}, reports = {}}

local function view()
  if record.retry_at == 0 then
    return 'closed', 0, ''
  elseif now < record.retry_at then
    return 'open', record.retry_at, ''
  elseif now < record.probe_until then
    return 'half_open', math.min(record.probe_until, now + LOOK_AGAIN_MS), record.prober
  end
  return 'half_open', now, ''
end

local function probe(owner)
  local state, _, prober = view()
  if state == 'half_open' and (prober == '' or prober == owner) then
    record.prober, record.probe_until = owner, now + policy.probe_lease_ms
  end
end

local function restart(retry_at)
  record.retry_at, record.prober, record.probe_until, record.counts = retry_at, '', 0, {}
end

local function add(succeeded, failed)
  local oldest = second - math.max(policy.failures_window_s, policy.calls_window_s)
  local kept = {}
  for _, count in ipairs(record.counts) do
    if count[1] > oldest and count[1] <= second then
      kept[#kept + 1] = count
    end
  end
  local last = kept[#kept]
  if last and last[1] == second then
    last[2], last[3] = last[2] + succeeded, last[3] + failed
  else
    kept[#kept + 1] = {second, succeeded, failed}
  end
  record.counts = kept
end

local function trips()
  local failures, calls, failed = 0, 0, 0
  for _, count in ipairs(record.counts) do
    if count[1] > second - policy.failures_window_s then
      failures = failures + count[3]
    end
    if count[1] > second - policy.calls_window_s then
      calls, failed = calls + count[2] + count[3], failed + count[3]
    end
  end
  return failures >= policy.failures_max
    or (calls >= policy.calls_min and failed * 100 >= policy.percent_max * calls)
end

local function report(id, succeeded, failed, prober)
  for _, known in ipairs(record.reports) do
    if known == id then
      return
    end
  end
  record.reports[#record.reports + 1] = id
  if #record.reports > REPORTS_REMEMBERED then
    table.remove(record.reports, 1)
  end
  if record.retry_at == 0 then
    add(succeeded, failed)
    if trips() then
      restart(now + policy.open_ms)
    end
  elseif prober ~= '' and prober == record.prober then
    if failed > 0 then
      restart(now + policy.open_ms)
    elseif succeeded > 0 then
      restart(0)
    end
  end
end

if ARGV[3] == 'probe' then
  probe(ARGV[4])
elseif ARGV[3] == 'report' then
  report(ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7])
end
if ARGV[3] ~= 'look' then
  redis.call('SET', KEYS[1], cjson.encode(record), 'PX', KEPT_MS)
end
local state, retry_at, prober = view()
return {state, string.format('%d', retry_at), string.format('%d', now), prober}
