// What apps do with ioredis, at the ports of two versions: node ioredis.js PORT PORT
const assert = require('node:assert');
const Redis = require('node:module').createRequire(process.cwd() + '/')('ioredis');

const clients = process.argv.slice(2).map((port) => new Redis(Number(port), '127.0.0.1'));

async function plays(client, version) {
  assert.equal(await client.set('page', version, 'EX', 100), 'OK');
  await client.mset({ a: 1, b: 2 });
  const piped = await client.pipeline().get('page').mget('a', 'b', 'c').incr('a').exec();
  assert.deepEqual(piped, [[null, version], [null, ['1', '2', null]], [null, 2]]);
  const done = await client.multi().hset('h', 'f', 'v').hgetall('h').exec();
  assert.deepEqual(done, [[null, 1], [null, { f: 'v' }]]);
  client.defineCommand('both', { numberOfKeys: 2, lua: 'return {redis.call("get", KEYS[1]), redis.call("get", KEYS[2])}' });
  assert.deepEqual(await client.both('page', 'b'), [version, '2']);
  assert.deepEqual(await client.both('page', 'b'), [version, '2']); // by its hash
  const found = [];
  for await (const keys of client.scanStream({ match: '*' })) found.push(...keys);
  assert.deepEqual([...new Set(found)].sort(), ['a', 'b', 'h', 'page']);
  const waits = client.duplicate();
  const popped = waits.blpop('queue', 'other', 20);
  await client.rpush('other', version);
  assert.deepEqual(await popped, ['other', version]);
  const listens = client.duplicate();
  const heard = new Promise((resolve) => listens.on('message', (...message) => resolve(message)));
  await listens.subscribe('news');
  await client.publish('news', version);
  assert.deepEqual(await heard, ['news', version]);
  waits.disconnect();
  listens.disconnect();
}

(async () => {
  await Promise.all(clients.map((client, at) => plays(client, `1.${at}.0`)));
  assert.equal(await clients[0].flushdb(), 'OK');
  assert.equal(await clients[1].dbsize(), 4);
  for (const client of clients) await client.quit();
  console.log('played');
})();
