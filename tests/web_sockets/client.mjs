// client.mjs URL: messages of every kind there and back, to the server behind URL. To be run where
// `ws` is installed. Ends with 0 and says what it did, or says what went wrong.
import assert from 'node:assert'
import { once } from 'node:events'
import { createRequire } from 'node:module'

const WebSocket = createRequire(process.cwd() + '/x.js')('ws')
const base = process.argv[2]

async function open(path, options = {}) {
  const socket = new WebSocket(base + path, { perMessageDeflate: false, maxPayload: 1 << 26, ...options })
  // Kept from the start, since the first may come together with the head of the answer.
  socket.messages = []
  socket.on('message', (data, binary) => socket.messages.push(binary ? data : data.toString()))
  await once(socket, 'open')
  return socket
}

async function next(socket) {
  while (socket.messages.length === 0) await once(socket, 'message')
  return socket.messages.shift()
}

async function close(socket, ...how) {
  const closed = once(socket, 'close')
  socket.close(...how)
  const [code, reason] = await closed
  return [code, reason.toString()]
}

async function echoes(socket, ...messages) {
  for (const message of messages) {
    socket.send(message)
    assert.deepStrictEqual(await next(socket), message)
  }
}

const large = Buffer.alloc(8 << 20, 'weir')
const text = 'größer als ein Rahmen, 🌊 '.repeat(50_000)

const tests = {
  async 'text and binary, empty and large'() {
    const socket = await open('/echo')
    await echoes(socket, '', 'hi', text, Buffer.alloc(0), Buffer.from([0, 255]), large)
    for (const length of [125, 126, 65535, 65536]) await echoes(socket, Buffer.alloc(length, 1))
    assert.deepStrictEqual(await close(socket, 1000), [1000, ''])
  },
  async 'compressed messages'() {
    const socket = await open('/echo', { perMessageDeflate: true })
    assert.match(socket.extensions, /permessage-deflate/)
    await echoes(socket, text, large, 'hi')
    await close(socket)
  },
  async 'fragments, either way'() {
    const socket = await open('/pieces')
    for (const message of ['abc', text, large]) {
      const half = message.length >> 1
      socket.send(message.slice(0, half), { fin: false })
      // Control frames may come between fragments.
      socket.ping('between')
      socket.send(message.slice(half), { fin: true })
      const [[data]] = await Promise.all([once(socket, 'pong'), once(socket, 'message')])
      assert.strictEqual(data.toString(), 'between')
      assert.deepStrictEqual(await next(socket), message)
    }
    await close(socket)
  },
  async 'pings, either way'() {
    const socket = await open('/ping')
    await echoes(socket, '1', 'x'.repeat(125))
    await close(socket)
  },
  async 'codes and reasons, either way'() {
    const socket = await open('/echo')
    assert.deepStrictEqual(await close(socket, 4001, 'enough'), [4001, 'enough'])
    const other = new WebSocket(base + '/close?code=4002&reason=closed')
    const [code, reason] = await once(other, 'close')
    assert.deepStrictEqual([code, reason.toString()], [4002, 'closed'])
  },
  async 'many messages in order, on many sockets at once'() {
    const one = async (_, user) => {
      const socket = await open('/echo')
      for (let count = 0; count < 500; count++) socket.send(`${user} ${count}`)
      for (let count = 0; count < 500; count++) {
        assert.strictEqual(await next(socket), `${user} ${count}`)
      }
      await close(socket)
    }
    await Promise.all(Array.from({ length: 20 }, one))
  },
  async 'a refusal is passed on as it is'() {
    const socket = new WebSocket(base + '/refused')
    const [error] = await once(socket, 'error')
    assert.match(error.message, /401/)
  },
}

for (const [name, test] of Object.entries(tests)) {
  await test()
  console.log(`${name}: ok`)
}
