-- wrk: the requests of the single-row sync.
wrk.method = "PUT"
wrk.headers["Content-Type"] = "application/json"
local number = 0
function request()
  number = number + 1
  local body = '{"id":' .. number .. ',"email":"user' .. number .. '@example.com","name":"Customer number ' .. number ..
    '","plan":"team","country":"US","mrr":4711.50,"seats":42,"active":true,"signup":"2021-02-03","updated_at":"2024-05-06T07:08:09.1Z"}'
  return wrk.format(nil, "/one/" .. number, nil, body)
end
