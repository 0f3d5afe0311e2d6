// server.mjs VERSION: an app with WebSockets, on a free port of 127.0.0.1. To be run where `ws` is
// installed. Prints one line of JSON for its port, for each WebSocket that ended, and each error.
//
// /echo     sends every message back as it came
// /pieces   sends it back in three frames
// /room     says its version first, then as /echo
// /stream   says its version first, then twenty large messages a second; ignores what comes
// /ping     pings with each message, and sends back what the pong says
// /close    ends with the code and the reason of the query
// /refused  answers 401
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

const { WebSocketServer } = createRequire(process.cwd() + '/x.js')('ws')
const version = process.argv[2]
const LARGE = Buffer.alloc(1 << 16, version)
// Bounded by what the largest case of Autobahn sends, 16 MiB.
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true, maxPayload: 1 << 26 })
const say = (line) => console.log(JSON.stringify(line))

const behaviour = {
  '/echo': (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })),
  '/pieces': (socket) =>
    socket.on('message', (data, binary) => {
      const third = Math.ceil(data.length / 3)
      socket.send(data.subarray(0, third), { binary, fin: false })
      socket.send(data.subarray(third, 2 * third), { binary, fin: false })
      socket.send(data.subarray(2 * third), { binary, fin: true })
    }),
  '/room': (socket) => {
    socket.send(version)
    behaviour['/echo'](socket)
  },
  '/stream': (socket) => {
    const more = () => {
      const next = (error) => error || setTimeout(more, 50)
      if (socket.readyState === 1) socket.send(LARGE, { compress: false }, next)
    }
    socket.send(version)
    more()
  },
  '/ping': (socket) => {
    socket.on('message', (data) => socket.ping(data))
    socket.on('pong', (data) => socket.send(data.toString()))
  },
  '/close': (socket, query) => socket.close(+query.get('code'), query.get('reason')),
}

const server = createServer((_, answer) => answer.end(version))
server.on('upgrade', (request, stream, head) => {
  const url = new URL(request.url, 'http://app')
  if (!behaviour[url.pathname]) {
    return stream.end('HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno')
  }
  sockets.handleUpgrade(request, stream, head, (socket) => {
    const user = request.headers['x-user']
    socket.on('error', (error) => say({ user, error: error.code }))
    socket.on('close', (code, reason) => say({ user, code, reason: reason.toString() }))
    behaviour[url.pathname](socket, url.searchParams)
  })
})
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }))
// Whoever started it is gone.
process.stdin.on('end', () => process.exit()).resume()
