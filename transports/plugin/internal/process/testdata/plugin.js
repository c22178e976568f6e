// A plugin in Node.js without any package: what the handshake, the certificates, the health service and the shutdown
// call need, and no more. A real one uses @grpc/grpc-js for the services, and a package for its certificate.
'use strict';
const crypto = require('crypto');
const http2 = require('http2');
const path = require('path');

if (process.env.BACKPLANE_PLUGIN !== 'the backplane of a cluster starts me') {
  console.error('This program is a plugin of Backplane: a node starts it.');
  process.exit(1);
}

// 1. A certificate for this run alone, signed by itself, for the name localhost.
const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
const der = selfSigned(privateKey, publicKey);

// 2. A server that takes the host's certificate and no other.
const server = http2.createSecureServer({
  key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  cert: `-----BEGIN CERTIFICATE-----\n${der.toString('base64').match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`,
  ca: process.env.PLUGIN_CLIENT_CERT, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2',
});

// 3. The services: health, which is asked for "plugin"; go-plugin's shutdown; and what the plugin is for.
server.on('stream', (stream, headers) => {
  const call = headers[':path'];
  const body = [];
  stream.on('error', () => {}); // the host is gone
  if (call === '/plugin.GRPCStdio/StreamStdio' || call === '/plugin.GRPCBroker/StartStream') {
    return answer(stream, null, 12); // unimplemented: both are optional
  }
  stream.on('data', (b) => body.push(b));
  stream.on('end', () => {
    switch (call) {
      case '/grpc.health.v1.Health/Check': return answer(stream, Buffer.from([8, 1])); // status: SERVING
      case '/plugin.GRPCController/Shutdown': answer(stream, Buffer.alloc(0)); return end();
      case '/test.Echo/Say': return answer(stream, Buffer.concat(body).subarray(5)); // what came, without its frame
      default: return answer(stream, null, 12);
    }
  });
});

function answer(stream, message, status = 0) {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }));
  if (message === null) return stream.end();
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  stream.end(Buffer.concat([frame, message]));
}

// 4. The end: when standard input ends the host is gone, or wants us to be.
function end() {
  console.error(JSON.stringify({ level: 30, msg: 'node ends in order' }));
  server.close();
  setTimeout(() => process.exit(0), 50); // the host keeps its connection open until we are gone
}
process.stdin.on('end', end).resume();

// 5. The handshake, once the server listens. Nothing else is ever printed to standard output.
const socket = path.join(process.env.PLUGIN_UNIX_SOCKET_DIR, 's');
server.listen(socket, () => {
  process.stdout.write(`1|1|unix|${socket}|grpc|${der.toString('base64').replace(/=+$/, '')}\n`);
});

// selfSigned writes an X.509 certificate by hand, because Node.js cannot.
function selfSigned(key, pub) {
  const tlv = (tag, ...parts) => {
    const content = Buffer.concat(parts);
    const n = content.length;
    const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255];
    return Buffer.concat([Buffer.from([tag, ...length]), content]);
  };
  const seq = (...parts) => tlv(0x30, ...parts);
  const hex = (s) => Buffer.from(s, 'hex');
  const time = (t) => tlv(0x18, Buffer.from(t.toISOString().replace(/[-:T]|\.\d+/g, ''), 'ascii'));
  const algorithm = seq(hex('06082a8648ce3d040302')); // ecdsa-with-SHA256
  const name = seq(tlv(0x31, seq(hex('0603550403'), tlv(0x0c, Buffer.from('localhost')))));
  const altName = seq(hex('0603551d11'), tlv(0x04, seq(tlv(0x82, Buffer.from('localhost')))));
  const body = seq(
    tlv(0xa0, hex('020102')), tlv(0x02, Buffer.concat([hex('01'), crypto.randomBytes(15)])), algorithm, name,
    seq(time(new Date(Date.now() - 3600e3)), time(new Date(Date.now() + 10 * 365 * 86400e3))), name,
    pub.export({ type: 'spki', format: 'der' }), tlv(0xa3, seq(altName)));
  return seq(body, algorithm, tlv(0x03, hex('00'), crypto.sign('sha256', body, key)));
}
