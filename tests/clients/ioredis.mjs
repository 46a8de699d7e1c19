// ioredis against the server at REDIS_URL: ready check, pipelines, scripts, blocking, pub/sub.
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';

const url = process.env.REDIS_URL;
const redis = new Redis(url, { connectionName: 'scenario' });

await redis.flushall();
assert.equal(await redis.set('k', 'v', 'EX', 100, 'NX'), 'OK');
assert.equal(await redis.set('k', 'w', 'NX'), null);
assert.equal(await redis.get('k'), 'v');
assert.deepEqual(await redis.getBuffer('k'), Buffer.from('v'));

await redis.hset('h', { f: 'v', g: 'w' });
assert.deepEqual({ ...(await redis.hgetall('h')) }, { f: 'v', g: 'w' });
await redis.zadd('z', 1, 'a', 2.5, 'b');
assert.deepEqual(await redis.zrange('z', 0, -1, 'WITHSCORES'), ['a', '1', 'b', '2.5']);

const piped = await redis.pipeline().set('p', 1).incr('p').lpush('p', 'x').get('p').exec();
assert.deepEqual(piped.map(([error, value]) => error?.message.split(' ')[0] ?? value), ['OK', 2, 'WRONGTYPE', '2']);
const done = await redis.multi().set('m', 1).incr('m').exec();
assert.deepEqual(done.map(([, value]) => value), ['OK', 2]);

redis.defineCommand('double', { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1] * 2)" });
assert.equal(await redis.double('d', 21), 42);

const blocked = redis.duplicate();
const popped = blocked.blpop('queue', 5);
await redis.rpush('queue', 'job');
assert.deepEqual(await popped, ['queue', 'job']);

const subscriber = redis.duplicate();
const messages = [];
subscriber.on('message', (channel, message) => messages.push([channel, message]));
await subscriber.subscribe('c', 'd');
await redis.publish('c', 'hello');
for (let i = 0; i < 100 && messages.length < 1; i++) await new Promise((r) => setTimeout(r, 20));
assert.deepEqual(messages, [['c', 'hello']]);

const keys = [];
for await (const batch of redis.scanStream({ count: 2 })) keys.push(...batch);
assert.deepEqual([...new Set(keys)].sort(), ['d', 'h', 'k', 'm', 'p', 'z']);
assert.equal(await redis.client('GETNAME'), 'scenario');

for (const client of [subscriber, blocked, redis]) client.disconnect();
console.log('ioredis ok');
