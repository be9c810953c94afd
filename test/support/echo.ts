/** A server in a namespace: `echo.ts NAME tcp|udp PORT 4|6` answers each line with `NAME <address of the one who asks>`. */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

const [name, transport, port, family] = process.argv.slice(2);
const answer = (address: string | undefined) => `${name} ${address}\n`;
const ready = () => process.stdout.write('ready\n');

if (transport === 'tcp') {
  const server = createServer(socket => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(answer(socket.remoteAddress)));
  });
  server.listen({ port: Number(port), host: family === '6' ? '::' : '0.0.0.0', ipv6Only: family === '6' }, ready);
} else {
  const socket = createSocket({ type: family === '6' ? 'udp6' : 'udp4', ipv6Only: family === '6' });
  socket.on('message', (_, from) => socket.send(answer(from.address), from.port, from.address));
  socket.bind(Number(port), ready);
}
