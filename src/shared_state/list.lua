-- The time, and how every pair stands that is known of: {time, {pair, number, remaining, reason}, …}.
-- KEYS: the hash, as in take.lua. What is long over is forgotten.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields = redis.call('HGETALL', KEYS[1])
local list = {{string.format('%.0f', now)}}
for index = 1, #fields, 2 do
  if fields[index] ~= '#' then
    local ends, changed, number, reason =
      string.match(fields[index + 1], '^(%d+) (%d+) (%d+) (.*)$')
    ends, changed = tonumber(ends), tonumber(changed)
    if ends > now then
      list[#list + 1] = {fields[index], number, string.format('%.0f', ends - now), reason}
    elseif math.max(ends, changed) + 3600000 < now then
      redis.call('HDEL', KEYS[1], fields[index])
    elseif ends == 0 then
      list[#list + 1] = {fields[index], number, '0', reason}
    end
  end
end
return list
