"""Scripts in the manner of the libraries that live on them, at REDIS_URL: a re-entrant lock with
waiters that are told by a message, and an ORM that walks lists of keys and sorts by pattern."""

import os
import threading
import time

import redis

URL = os.environ["REDIS_URL"]

# Owner and depth in a hash with a deadline; nil when taken, else the milliseconds to wait.
TAKE = """
if redis.call('exists', KEYS[1]) == 0 or redis.call('hexists', KEYS[1], ARGV[2]) == 1 then
  redis.call('hincrby', KEYS[1], ARGV[2], 1)
  redis.call('pexpire', KEYS[1], ARGV[1])
  return nil
end
return redis.call('pttl', KEYS[1])
"""
# One level less; at zero the lock goes and everybody who waits is told.
GIVE_BACK = """
if redis.call('hexists', KEYS[1], ARGV[3]) == 0 then return nil end
if redis.call('hincrby', KEYS[1], ARGV[3], -1) > 0 then
  redis.call('pexpire', KEYS[1], ARGV[2])
  return 0
end
redis.call('del', KEYS[1])
redis.call('publish', KEYS[2], ARGV[1])
return 1
"""
RENEW = """
if redis.call('hexists', KEYS[1], ARGV[2]) == 1 then
  return redis.call('pexpire', KEYS[1], ARGV[1])
end
return 0
"""


class Lock:
    def __init__(self, name, owner):
        self.r = redis.Redis.from_url(URL, decode_responses=True)
        self.name, self.channel, self.owner = name, f"channel:{{{name}}}", owner
        self.take = self.r.register_script(TAKE)
        self.give_back = self.r.register_script(GIVE_BACK)
        self.renew = self.r.register_script(RENEW)

    def acquire(self):
        listener = None
        while self.take(keys=[self.name], args=[30000, self.owner]) is not None:
            if listener is None:
                listener = self.r.pubsub(ignore_subscribe_messages=True)
                listener.subscribe(self.channel)
            listener.get_message(timeout=1)
        if listener:
            listener.close()

    def release(self):
        return self.give_back(keys=[self.name, self.channel], args=["0", 30000, self.owner])


def locks():
    r = redis.Redis.from_url(URL, decode_responses=True)
    r.flushall()
    held, inside, counted = [], [0], [0]

    def work(number):
        lock = Lock("lock", f"owner:{number}")
        for _ in range(10):
            lock.acquire()
            lock.acquire()
            inside[0] += 1
            held.append(inside[0])
            counted[0] += 1
            assert lock.renew(keys=[lock.name], args=[30000, lock.owner]) == 1
            inside[0] -= 1
            assert lock.release() == 0
            assert lock.release() == 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    started = time.time()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert counted[0] == 60 and max(held) == 1, (counted, max(held))
    assert r.exists("lock") == 0 and time.time() - started < 30


# All records of a list of keys, in the order of one attribute, as field-value lists.
ALL = """
local keys = redis.call('LRANGE', KEYS[1], 0, -1)
local order = {}
local sorted = redis.pcall('SORT', KEYS[1], 'BY', KEYS[1] .. ':a:*->' .. ARGV[1], 'ALPHA')
if sorted['err'] then
  for _, key in ipairs(keys) do order[#order + 1] = key end
else
  order = sorted
end
local records = {}
for _, key in ipairs(order) do
  local found = {}
  local fields = redis.call('HGETALL', KEYS[1] .. ':a:' .. key)
  for i = 1, #fields, 2 do found[fields[i]] = fields[i + 1] end
  if tonumber(found['age']) > tonumber(ARGV[2]) then records[#records + 1] = fields end
end
return records
"""


def records():
    r = redis.Redis.from_url(URL, decode_responses=True)
    r.flushall()
    for key, (name, age) in enumerate([("mallory", 20), ("bob", 31), ("alice", 47), ("eve", 52)]):
        r.rpush("customer", key)
        r.hset(f"customer:a:{key}", mapping={"name": name, "age": age})
    found = r.eval(ALL, 1, "customer", "name", 25)
    assert [dict(zip(row[::2], row[1::2]))["name"] for row in found] == ["alice", "bob", "eve"], found
    script = "return cjson.encode(cmsgpack.unpack(cmsgpack.pack({a = 1, b = {true, false}})).b)"
    assert r.eval(script, 0) == "[true,false]"
    assert r.eval("return struct.unpack('>I2', struct.pack('>I2', 258))", 0) == 258


locks()
records()
print("libraries ok")
