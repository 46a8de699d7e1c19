"""redis-py against the server at REDIS_URL, over RESP2 and RESP3: what an application does with it."""

import asyncio
import os
import sys
import threading
import time

import redis
import redis.asyncio

URL = os.environ["REDIS_URL"]


def strings(r):
    assert r.set("k", "v", ex=100, nx=True) is True
    assert r.set("k", "w", nx=True) is None
    assert r.set("k", "x", get=True, keepttl=True) == "v"
    assert 90 < r.ttl("k") <= 100
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "none") == ["1", "2", None]
    assert r.incr("a") == 2 and r.incrbyfloat("a", 0.5) == 2.5
    assert r.getex("k", persist=True) == "x" and r.ttl("k") == -1
    assert r.type("k") == "string" and r.exists("k", "none") == 1
    assert sorted(r.scan_iter("*", count=2)) == ["a", "b", "k"]
    r.set("blob", b"\x00\xff\r\n")
    assert redis.Redis.from_url(URL).get("blob") == b"\x00\xff\r\n"
    try:
        r.lpush("k", "x")
        raise AssertionError("a list was pushed to a string")
    except redis.ResponseError as e:
        assert str(e).startswith("WRONGTYPE"), e


def collections(r):
    assert r.rpush("l", "a", "b", "c") == 3 and r.lrange("l", 0, -1) == ["a", "b", "c"]
    assert r.blmove("l", "m", 1, "LEFT", "RIGHT") == "a"
    assert r.hset("h", mapping={"f": "v", "n": 1}) == 2 and r.hgetall("h") == {"f": "v", "n": "1"}
    assert r.hincrby("h", "n", 2) == 3 and dict(r.hscan_iter("h")) == {"f": "v", "n": "3"}
    assert r.sadd("s", "a", "b") == 2 and r.smembers("s") == {"a", "b"}
    assert r.zadd("z", {"one": 1, "two": 2.5}) == 2
    pairs = [tuple(pair) for pair in r.zrange("z", 0, -1, withscores=True)]
    assert pairs == [("one", 1.0), ("two", 2.5)], pairs
    assert r.zscore("z", "two") == 2.5 and r.zrank("z", "two") == 1
    assert r.xadd("x", {"f": "v"}, id="1-1") == "1-1"
    assert r.xgroup_create("x", "g", id="0")
    read = r.xreadgroup("g", "c", {"x": ">"}, count=1)
    entries = read["x"][0] if isinstance(read, dict) else read[0][1]
    assert list(entries[0]) == ["1-1", {"f": "v"}], read
    assert r.xack("x", "g", "1-1") == 1
    assert r.geoadd("geo", (13.361389, 38.115556, "Palermo")) == 1
    assert r.pfadd("hll", "a", "b") == 1 and r.pfcount("hll") == 2


def transactions(r):
    pipe = r.pipeline()
    pipe.set("p", 1).incr("p").get("p")
    assert pipe.execute() == [True, 2, "2"]
    pipe = r.pipeline(transaction=False)
    for i in range(1000):
        pipe.set(f"n{i}", i)
    assert all(pipe.execute())

    def add(pipe):
        current = int(pipe.get("p"))
        pipe.multi()
        pipe.set("p", current + 1)

    r.transaction(add, "p")
    assert r.get("p") == "3"
    with r.pipeline() as pipe:
        pipe.watch("p")
        r.set("p", 9)
        pipe.multi()
        pipe.set("p", 10)
        try:
            pipe.execute()
            raise AssertionError("EXEC ran although a watched key changed")
        except redis.WatchError:
            pass


def blocking(r):
    threading.Timer(0.05, lambda: r.rpush("q", "x")).start()
    assert list(r.blpop("q", timeout=5)) == ["q", "x"]
    before = time.time()
    assert r.blpop("q", timeout=0.1) is None
    assert time.time() - before >= 0.1


def publish(r):
    listener = r.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("c")
    listener.psubscribe("d*")
    while listener.get_message(timeout=0.2) is not None:
        pass
    assert r.publish("c", "hello") == 1 and r.publish("dd", "hi") == 1
    seen = []
    until = time.time() + 5
    while len(seen) < 2 and time.time() < until:
        message = listener.get_message(timeout=0.2)
        if message:
            seen.append((message["channel"], message["data"]))
    assert seen == [("c", "hello"), ("dd", "hi")], seen
    listener.close()


def scripts(r):
    double = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1] * 2)")
    assert double(keys=["sc"], args=[21]) == 42 and double(keys=["sc"], args=[1]) == 44
    with r.lock("lock", timeout=10, blocking_timeout=1) as lock:
        assert lock.owned() and lock.extend(5)
        other = r.lock("lock", timeout=10, blocking_timeout=0.05)
        assert not other.acquire()
    assert r.get("lock") is None


def connection(r):
    assert r.ping() and r.echo("hi") == "hi"
    r.client_setname("scenario")
    assert r.client_getname() == "scenario"
    assert any(client["name"] == "scenario" for client in r.client_list())
    assert r.config_set("maxmemory", "1gb") and r.config_get("maxmemory") == {"maxmemory": "1073741824"}
    r.config_set("maxmemory", "0")
    assert "redis_version" in r.info("server")
    assert r.dbsize() == 0 and r.command_count() > 100
    assert isinstance(r.time(), (tuple, list)) and r.slowlog_len() >= 0


async def asynchronous():
    r = redis.asyncio.Redis.from_url(URL, decode_responses=True, max_connections=500)
    await r.flushall()
    await asyncio.gather(*(r.set(f"k{i}", i) for i in range(200)))
    values = await asyncio.gather(*(r.get(f"k{i}") for i in range(200)))
    assert values == [str(i) for i in range(200)]
    await r.aclose()


def main():
    rooms = [strings, collections, transactions, blocking, publish, scripts, connection]
    wanted = sys.argv[1:] or [room.__name__ for room in rooms]
    for protocol in (2, 3):
        for room in rooms:
            if room.__name__ not in wanted:
                continue
            r = redis.Redis.from_url(URL, protocol=protocol, decode_responses=True)
            r.flushall()
            room(r)
            r.close()
    asyncio.run(asynchronous())
    print("redis-py", redis.__version__, "ok:", *wanted)


main()
