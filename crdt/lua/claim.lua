-- Take the turn to fold a room.
--
-- KEYS  1 room hash
-- ARGV  1 epoch and 2 offset up to which the asker knows the snapshot to reach  3 asker  4 milliseconds
-- gives 'mine', 'others' while another's turn lasts, or 'past' when the snapshot reaches further

local room = redis.call('HMGET', KEYS[1], 'epoch', 'folded', 'folder')
if room[1] == ARGV[1] and tonumber(room[2] or '0') > tonumber(ARGV[2]) then
  return 'past'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder, till = string.match(room[3] or '', '^(%S+) (%d+)$')
if holder and holder ~= ARGV[3] and tonumber(till) > now then
  return 'others'
end
redis.call('HSET', KEYS[1], 'folder', ARGV[3] .. ' ' .. string.format('%d', now + ARGV[4]))
return 'mine'
