// node-redis against the server at REDIS_URL, over RESP2 and RESP3.
import assert from 'node:assert/strict';
import { createClient, WatchError } from 'redis';

const url = process.env.REDIS_URL;

async function scenario(RESP) {
  const client = await createClient({ url, RESP, name: 'scenario' }).connect();
  await client.flushAll();

  assert.equal(await client.set('k', 'v', { EX: 100, NX: true }), 'OK');
  assert.equal(await client.set('k', 'w', { NX: true }), null);
  assert.equal(await client.get('k'), 'v');
  assert.ok((await client.ttl('k')) > 90);
  assert.deepEqual(await client.mGet(['k', 'none']), ['v', null]);
  assert.equal(await client.incrBy('n', 41), 41);

  await client.hSet('h', { f: 'v', g: 'w' });
  assert.deepEqual({ ...(await client.hGetAll('h')) }, { f: 'v', g: 'w' });
  await client.rPush('l', ['a', 'b']);
  assert.deepEqual(await client.lRange('l', 0, -1), ['a', 'b']);
  await client.sAdd('s', ['a', 'b']);
  assert.deepEqual([...(await client.sMembers('s'))].sort(), ['a', 'b']);
  await client.zAdd('z', [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]);
  assert.deepEqual(await client.zRangeWithScores('z', 0, -1), [
    { value: 'a', score: 1 },
    { value: 'b', score: 2.5 },
  ]);
  await client.xAdd('x', '1-1', { f: 'v' });
  const [entry] = await client.xRange('x', '-', '+');
  assert.deepEqual([entry.id, { ...entry.message }], ['1-1', { f: 'v' }]);

  assert.deepEqual(await client.multi().set('m', '1').incr('m').get('m').exec(), ['OK', 2, '2']);
  await client.watch('m');
  const other = await client.duplicate().connect();
  await other.set('m', '9');
  await assert.rejects(client.multi().set('m', '10').exec(), WatchError);

  const many = Array.from({ length: 1000 }, (_, i) => client.set(`many:${i}`, `${i}`));
  await Promise.all(many);
  const found = [];
  for await (const keys of client.scanIterator({ MATCH: 'many:*', COUNT: 100 })) found.push(...keys);
  assert.equal(new Set(found).size, 1000);

  const popped = other.blPop('queue', 5);
  await client.rPush('queue', 'job');
  assert.deepEqual({ ...(await popped) }, { key: 'queue', element: 'job' });

  const subscriber = await client.duplicate().connect();
  const messages = [];
  await subscriber.subscribe('c', (message, channel) => messages.push([channel, message]));
  await subscriber.pSubscribe('d*', (message, channel) => messages.push([channel, message]));
  await client.publish('c', 'hello');
  await client.publish('dd', 'hi');
  for (let i = 0; i < 100 && messages.length < 2; i++) await new Promise((r) => setTimeout(r, 20));
  assert.deepEqual(messages, [['c', 'hello'], ['dd', 'hi']]);

  assert.equal(await client.eval('return KEYS[1] .. ARGV[1]', { keys: ['a'], arguments: ['b'] }), 'ab');
  assert.equal(await client.clientGetName(), 'scenario');
  await assert.rejects(client.lPush('k', 'x'), /WRONGTYPE/);

  await subscriber.close();
  await other.close();
  await client.close();
}

for (const RESP of [2, 3]) await scenario(RESP);
console.log('node-redis ok');
