-- Takes a word about a pair: how it stands at one instance, and how long that has been so.
-- KEYS: the hash. ARGV: channel, pair, its end (0: it is healthy), when that came to be, reason.
-- Returns how the pair stands now: {pair, number, remaining, reason}; number 0: nothing was said.
--
-- Times are milliseconds of this server's clock. The instance works them out from what it heard
-- last, so a word that waited in a queue here is as old as it is.
--
-- A field of the hash is "end changed number reason"; the field '#' is the last number. A pair that is healthy again has 0 for its end: a word from before
-- that must not suspend it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends, changed, reason = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
if ends > 0 and ends <= now then return {ARGV[2], '0', '0', ''} end

local known = redis.call('HGET', KEYS[1], ARGV[2])
if known then
  local known_end, known_change, number, known_reason =
    string.match(known, '^(%d+) (%d+) (%d+) (.*)$')
  known_end, known_change = tonumber(known_end), tonumber(known_change)
  local stands = known_change > changed
  if stands and (known_end == 0 and ends > 0 or known_end > now and ends == 0) then
    return {ARGV[2], number, tostring(math.max(known_end - now, 0)), known_reason}
  end
  if ends > 0 and known_end > ends then ends, reason = known_end, known_reason end
  changed = math.max(changed, known_change)
end

-- Numbers go on where the hash is lost: they are at least the time in microseconds.
local number = math.max(time[1] * 1000000 + time[2],
  tonumber(redis.call('HGET', KEYS[1], '#') or '0') + 1)
number = string.format('%.0f', number)
redis.call('HSET', KEYS[1], '#', number, ARGV[2],
  string.format('%.0f %.0f %s %s', ends, changed, number, reason))
redis.call('PEXPIRE', KEYS[1],
  math.max(redis.call('PTTL', KEYS[1]), ends - now, 0) + 3600000)
local remaining = string.format('%.0f', math.max(ends - now, 0))
redis.call('PUBLISH', ARGV[1], cjson.encode({ARGV[2], number, remaining, reason}))
return {ARGV[2], number, remaining, reason}
