// bridge.mjs ADDRESS: takes WebSockets by the Upgrade of HTTP/1.1 on a free port of 127.0.0.1, and
// passes them on to ADDRESS by the extended CONNECT of HTTP/2 (RFC 8441), without TLS: for clients
// that do not know it. Prints one line of JSON for its port.
import { createHash } from 'node:crypto'
import { connect, constants } from 'node:http2'
import { createServer } from 'node:http'

// Sockets that share one connection; then the next one begins.
const SHARING_MAX = 50
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const FIELDS = ['sec-websocket-extensions', 'sec-websocket-protocol', 'sec-websocket-version', 'origin', 'x-user']

let session
let left = 0

function shared() {
  if (left === 0 || session.closed || session.destroyed) {
    session = connect(`http://${process.argv[2]}`)
    session.setMaxListeners(SHARING_MAX)
    // Each stream hears of it as well.
    session.on('error', () => {})
    left = SHARING_MAX
  }
  left--
  return session
}

const some = (headers, names) => names.filter((name) => name in headers).map((name) => [name, headers[name]])

const server = createServer((_, answer) => answer.writeHead(400).end())
server.on('upgrade', (request, socket, head) => {
  const session = shared()
  const begin = () => {
    const stream = session.request(
      {
        ':method': 'CONNECT',
        ':protocol': 'websocket',
        ':path': request.url,
        ':authority': request.headers.host,
        ...Object.fromEntries(some(request.headers, FIELDS)),
      },
      { endStream: false },
    )
    const cut = () => stream.close(constants.NGHTTP2_CANCEL)
    socket.on('error', cut).on('close', cut)
    stream.on('error', () => socket.destroy()).on('close', () => socket.end())
    stream.on('response', (headers) => {
      const status = headers[':status']
      if (status !== 200) return socket.end(`HTTP/1.1 ${status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
      const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + GUID).digest('base64')
      const fields = [['upgrade', 'websocket'], ['connection', 'upgrade'], ['sec-websocket-accept', accept]]
      const lines = [...fields, ...some(headers, FIELDS)].map(([name, value]) => `${name}: ${value}\r\n`)
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`)
      stream.write(head)
      socket.pipe(stream).pipe(socket)
    })
  }
  // Whether it may be asked for is known with the first frame of settings.
  if (session.remoteSettings?.enableConnectProtocol) begin()
  else session.once('remoteSettings', begin)
})
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
