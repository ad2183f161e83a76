-- Sign-ins, refreshes and users through HTTP.
-- WORK: refresh, sign-in or user. ANON_KEY: the application's key, in the environment so that no
-- process list shows it. TOKENS: a file of refresh tokens, one a line, of which every connection
-- uses one after the other's answer. USERS: how many users there are. ACCESS_TOKEN: of `user`.

local work = os.getenv("WORK")
local users = tonumber(os.getenv("USERS"))
local head = {
  ["content-type"] = "application/json",
  ["apikey"] = os.getenv("ANON_KEY"),
}
local paths = {
  refresh = "/auth/v1/token?grant_type=refresh_token",
  ["sign-in"] = "/auth/v1/token?grant_type=password",
  user = "/auth/v1/user",
}
local path = paths[work]
local tokens, first, last = {}, 1, 0

function init(arguments)
  math.randomseed(os.time())
  if work == "user" then
    head["authorization"] = "Bearer " .. os.getenv("ACCESS_TOKEN")
  end
  if work == "refresh" then
    for token in io.lines(os.getenv("TOKENS")) do
      last = last + 1
      tokens[last] = token
    end
  end
end

function request()
  if work == "refresh" then
    local token = tokens[first]
    tokens[first] = nil
    first = first + 1
    return wrk.format("POST", path, head, '{"refresh_token":"' .. token .. '"}')
  elseif work == "sign-in" then
    local email = ("bench%d@example.com"):format(math.random(users))
    local body = '{"email":"' .. email .. '","password":"' .. os.getenv("PASSWORD") .. '"}'
    return wrk.format("POST", path, head, body)
  end
  return wrk.format("GET", path, head)
end

if work == "refresh" then
  function response(status, headers, body)
    local token = body:match('"refresh_token":"([^"]+)"')
    if token then
      last = last + 1
      tokens[last] = token
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
