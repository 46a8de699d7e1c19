// BullMQ against the server at REDIS_URL: queue, worker, delay, retries, flow, rate limit, schedulers.
import assert from 'node:assert/strict';
import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';

const { hostname: host, port } = new URL(process.env.REDIS_URL);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const open = [];
const keep = (thing) => (open.push(thing), thing);

const queue = keep(new Queue('jobs', { connection }));
const events = keep(new QueueEvents('jobs', { connection }));
await events.waitUntilReady();
const seen = [];
let failures = 0;
keep(new Worker('jobs', async (job) => {
  seen.push(job.name);
  if (job.name === 'flaky' && failures++ < 1) throw new Error('once');
  return job.data.n * 2;
}, { connection, concurrency: 4 }));

const jobs = await queue.addBulk(Array.from({ length: 50 }, (_, n) => ({ name: `job${n}`, data: { n } })));
const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 20000)));
assert.deepEqual(results, Array.from({ length: 50 }, (_, n) => n * 2));

const started = Date.now();
const late = await queue.add('late', { n: 1 }, { delay: 300 });
await late.waitUntilFinished(events, 20000);
assert.ok(Date.now() - started >= 290);

const flaky = await queue.add('flaky', { n: 4 }, { attempts: 2, backoff: { type: 'fixed', delay: 50 } });
assert.equal(await flaky.waitUntilFinished(events, 20000), 8);
assert.equal(failures, 2);

await queue.add('urgent', { n: 1 }, { priority: 1 });
await queue.upsertJobScheduler('every', { every: 200 }, { name: 'tick', data: { n: 1 } });
for (let i = 0; i < 200 && seen.filter((name) => name === 'tick').length < 3; i++) {
  await new Promise((resolve) => setTimeout(resolve, 25));
}
assert.ok(seen.filter((name) => name === 'tick').length >= 3);
await queue.removeJobScheduler('every');

const flow = keep(new FlowProducer({ connection }));
const tree = await flow.add({
  name: 'parent', queueName: 'jobs', data: { n: 7 },
  children: [1, 2, 3].map((n) => ({ name: `child${n}`, queueName: 'jobs', data: { n } })),
});
assert.equal(await tree.job.waitUntilFinished(events, 20000), 14);
assert.deepEqual(Object.values(await tree.job.getChildrenValues()).sort(), [2, 4, 6]);

const slow = keep(new Queue('slow', { connection }));
const slowEvents = keep(new QueueEvents('slow', { connection }));
await slowEvents.waitUntilReady();
keep(new Worker('slow', async () => Date.now(), { connection, limiter: { max: 1, duration: 150 } }));
const limited = await slow.addBulk([1, 2, 3].map((n) => ({ name: `n${n}`, data: {} })));
const times = await Promise.all(limited.map((job) => job.waitUntilFinished(slowEvents, 20000)));
assert.ok(Math.max(...times) - Math.min(...times) >= 250, `${times}`);

const counts = await queue.getJobCounts();
assert.equal(counts.failed, 0);
await queue.obliterate({ force: true });
await Promise.all(open.map((thing) => thing.close()));
console.log('BullMQ ok');
process.exit(0);
