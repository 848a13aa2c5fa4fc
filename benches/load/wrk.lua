-- What wrk sends, and how it tells what it saw: one line of JSON.
--
--     wrk ... -s wrk.lua URL -- HEADERS BODIES
--
-- HEADERS is a file with a header a line, BODIES one with a body a line. Of several bodies one
-- after the other is sent.

local function lines(path)
  local all = {}
  for line in io.lines(path) do
    all[#all + 1] = line
  end
  return all
end

function init(args)
  wrk.method = "POST"
  for _, header in ipairs(lines(args[1])) do
    local name, value = header:match("^([^:]+): *(.*)$")
    wrk.headers[name] = value
  end
  local bodies = lines(args[2])
  wrk.body = bodies[1]
  if #bodies > 1 then
    local requests, turn = {}, 0
    for _, body in ipairs(bodies) do
      requests[#requests + 1] = wrk.format(nil, nil, nil, body)
    end
    function request()
      turn = turn % #requests + 1
      return requests[turn]
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"seconds":%.6f,"failed":%d,"p50_us":%d,"p99_us":%d}',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
