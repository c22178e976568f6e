// How the host and the plugin find each other: the variables that the host sets, and the line that the plugin prints. It is
// go-plugin's handshake, version 1, with AutoMTLS.
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCertificate } from './certificate.mjs';

const cookie = { name: 'BACKPLANE_PLUGIN', value: 'the backplane of a cluster starts me' };
const coreVersion = 1; // of go-plugin's own protocol
const protocolVersion = 1; // of Backplane's

/** Whether a host has started this process. */
export const startedByHost = () => process.env[cookie.name] === cookie.value;

/**
 * terms are what this side brings to the handshake.
 * @returns {{ address: string, certificate: Buffer, key: string, host: Buffer }} where to listen, and who is who
 */
export function terms() {
  const host = process.env.PLUGIN_CLIENT_CERT;
  if (!host) throw new Error('PLUGIN_CLIENT_CERT is empty: the host must prove who it is (AutoMTLS)');
  const versions = (process.env.PLUGIN_PROTOCOL_VERSIONS ?? `${protocolVersion}`).split(',');
  if (!versions.includes(`${protocolVersion}`)) {
    throw new Error(`the host speaks versions ${versions} of the plugin protocol, this plugin ${protocolVersion}: update one of them`);
  }
  return { address: address(), ...makeCertificate(), host: Buffer.from(host) };
}

/** A socket in the folder that the host removes in the end; on Windows a port of this machine. */
function address() {
  if (process.platform === 'win32') return '127.0.0.1:0';
  return `unix:${join(process.env.PLUGIN_UNIX_SOCKET_DIR || tmpdir(), `plugin-${randomBytes(6).toString('hex')}`)}`;
}

/** The line that tells the host where the plugin listens, and by which certificate to know it. */
export function greeting(/** @type {string} */ address, /** @type {number} */ port, /** @type {Buffer} */ certificate) {
  const [network, where] = address.startsWith('unix:') ? ['unix', address.slice('unix:'.length)] : ['tcp', `127.0.0.1:${port}`];
  const unpadded = certificate.toString('base64').replace(/=+$/, '');
  return `${coreVersion}|${protocolVersion}|${network}|${where}|grpc|${unpadded}\n`;
}
