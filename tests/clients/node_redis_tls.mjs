// node-redis, unmodified, over TLS: REDIS_TLS_PORT, and a folder of certificates in TLS_DIR.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createClient, RESP_TYPES } from 'redis';

const port = Number(process.env.REDIS_TLS_PORT);
const file = (name) => readFileSync(`${process.env.TLS_DIR}/${name}`);
const shown = { cert: file('client.crt'), key: file('client.key') };

function client(certificate, RESP) {
  const socket = {
    host: 'localhost', port, tls: true, ca: file('ca.crt'), ...certificate,
    reconnectStrategy: false,
  };
  return createClient({ RESP, socket }).on('error', () => {});
}

async function scenario(certificate, RESP) {
  const main = await client(certificate, RESP).connect();
  assert.equal(await main.ping(), 'PONG');
  const value = randomBytes(3_000_000);
  assert.equal(await main.set('k', value), 'OK');
  const bytes = main.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  assert.ok(value.equals(await bytes.get('k')));

  const texts = Array.from({ length: 5000 }, (_, number) => `${number}`.repeat(20));
  assert.deepEqual(await Promise.all(texts.map((text) => main.echo(text))), texts);

  const subscriber = await client(certificate, RESP).connect();
  let hear;
  const message = new Promise((resolve) => { hear = resolve; });
  await subscriber.subscribe('channel', hear);
  // The message may come before the publisher's reply: who ends before that has a call open.
  assert.equal(await main.publish('channel', 'm'), 1);
  assert.equal(await message, 'm');
  subscriber.destroy();
  main.destroy();
}

for (const RESP of [2, 3]) {
  for (const certificate of [{}, shown]) await scenario(certificate, RESP);
}

const known = await client(shown, 3).connect();
await known.configSet('tls-auth-clients', 'yes');
// Its calls may stay open for ever when the refusal comes between two of them; it hears of it.
const refused = client({}, 3);
const refusal = new Promise((resolve) => refused.on('error', resolve));
refused.connect().then(() => refused.ping()).catch(() => {});
assert.match((await refusal).message, /certificate required|closed|ECONNRESET|EPIPE/i);
assert.equal(await known.ping(), 'PONG');
await known.configSet('tls-auth-clients', 'optional');
known.destroy();
console.log('node-redis over TLS: ok');
