-- Renew the lease of a server process, or give it up, and tell who holds one.
--
-- KEYS  1 sorted set: until when each process holds its lease, in milliseconds of this Redis' clock
--       2 hash: what each process tells of itself
-- ARGV  1 process  2 what it tells of itself, or '' to give its lease up  3 length of a lease in milliseconds
-- gives {1 if the process held a lease until now, else 0, {what each holder tells of itself}}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local length = tonumber(ARGV[3])
local latest = now + length

for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  redis.call('ZREM', KEYS[1], process)
  redis.call('HDEL', KEYS[2], process)
end
-- The clock has been set back, or a Redis with another clock has taken over: the dead must not live on by it.
for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. latest, '+inf')) do
  redis.call('ZADD', KEYS[1], latest, process)
end

local held = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[1], latest, ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
-- When nobody renews any more, nothing stays behind.
redis.call('PEXPIRE', KEYS[1], length)
redis.call('PEXPIRE', KEYS[2], length)

local holders = redis.call('ZRANGE', KEYS[1], 0, -1)
if #holders == 0 then
  return {held, {}}
end
return {held, redis.call('HMGET', KEYS[2], unpack(holders))}
