// crowd.mjs URL COUNT: so many users with a WebSocket each; every tenth is sent and sends twenty
// large messages a second. To be run where `ws` is installed. Prints a line of JSON for each
// user when it learns its version and when its socket ends, and with how many messages came back
// for each line of standard input, which has the others say something.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const WebSocket = createRequire(process.cwd() + '/x.js')('ws')
const [base, count] = process.argv.slice(2)
const LARGE = Buffer.alloc(1 << 16, 'weir')
const say = (line) => console.log(JSON.stringify(line))

const users = Array.from({ length: +count }, (_, number) => {
  const busy = number % 10 === 0
  const user = `user-${number}`
  const socket = new WebSocket(base + (busy ? '/stream' : '/room'), {
    headers: { 'x-user': user },
    perMessageDeflate: false,
    maxPayload: 1 << 26,
    rejectUnauthorized: false,
  })
  const more = () => {
    const next = (error) => error || setTimeout(more, 50)
    if (socket.readyState === 1) socket.send(LARGE, next)
  }
  socket.once('message', (version) => {
    say({ user, version: version.toString() })
    if (busy) more()
  })
  socket.on('error', (error) => say({ user, error: error.message }))
  socket.on('close', (code, reason) => say({ user, code, reason: reason.toString(), at: Date.now() }))
  return { busy, socket }
})

for await (const line of createInterface({ input: process.stdin })) {
  const open = users.filter(({ busy, socket }) => !busy && socket.readyState === 1)
  const heard = open.map(({ socket }) => {
    return new Promise((done) => {
      socket.once('message', (data) => done(data.toString() === line))
      socket.once('close', () => done(false))
      socket.send(line)
    })
  })
  const back = (await Promise.all(heard)).filter(Boolean).length
  say({ line, open: open.length, back })
}
process.exit()
