-- `pgbench -S` through HTTP: one random row of pgbench_accounts by primary key.
-- ROWS: how many there are. SERVICE_KEY: the owner's key, in the environment so that no process
-- list shows it.

local rows = tonumber(os.getenv("ROWS"))
local head = {
  ["content-type"] = "application/json",
  ["authorization"] = "Bearer " .. os.getenv("SERVICE_KEY"),
}
local text = '{"sql":"select abalance from pgbench_accounts where aid = $1","params":[%d]}'

function init(arguments)
  math.randomseed(os.time())
end

function request()
  return wrk.format("POST", nil, head, text:format(math.random(rows)))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
