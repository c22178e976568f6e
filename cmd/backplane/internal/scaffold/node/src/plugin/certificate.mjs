// A certificate for one life of the plugin, signed by itself: the host learns it from the handshake and trusts nothing else.
// Node can read certificates but not make them, so the few bytes of DER (X.690) around the key are written here.
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

const lifetime = 10 * 365 * 24 * 3600 * 1000; // as long as a process may live, in milliseconds
const skew = 60 * 1000; // of two clocks

/** One DER element. @param {number} tag @param {...Buffer} parts */
function der(tag, ...parts) {
  const body = Buffer.concat(parts);
  if (body.length < 0x80) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const length = Buffer.from(body.length.toString(16).padStart(body.length > 0xff ? 4 : 2, '0'), 'hex');
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, body]);
}

const sequence = (/** @type {Buffer[]} */ ...parts) => der(0x30, ...parts);
const set = (/** @type {Buffer[]} */ ...parts) => der(0x31, ...parts);
const integer = (/** @type {Buffer} */ bytes) => der(0x02, bytes);
const octets = (/** @type {Buffer} */ bytes) => der(0x04, bytes);
const text = (/** @type {string} */ s) => der(0x0c, Buffer.from(s));
const bits = (/** @type {Buffer} */ bytes) => der(0x03, Buffer.from([0]), bytes);
const yes = der(0x01, Buffer.from([0xff]));
const oid = (/** @type {number[]} */ ...bytes) => der(0x06, Buffer.from(bytes));

/** UTCTime, which has years up to 2049. */
const time = (/** @type {number} */ ms) => der(0x17, Buffer.from(`${new Date(ms).toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`));

const ecdsaWithSHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
const commonName = oid(0x55, 0x04, 0x03);
const basicConstraints = oid(0x55, 0x1d, 0x13);
const subjectAlternativeName = oid(0x55, 0x1d, 0x11);

/**
 * makeCertificate makes a key and the certificate of it for the name localhost, under which the host looks for the plugin.
 * @returns {{ certificate: Buffer, key: string }} in DER, and in PEM
 */
export function makeCertificate(now = Date.now()) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const serial = randomBytes(16);
  serial[0] = (serial[0] & 0x7f) | 0x40; // positive, and in its shortest form
  const name = sequence(set(sequence(commonName, text('localhost'))));
  const extensions = sequence(
    sequence(basicConstraints, yes, octets(sequence(yes))), // it vouches for itself
    sequence(subjectAlternativeName, octets(sequence(der(0x82, Buffer.from('localhost'))))),
  );
  const body = sequence(
    der(0xa0, integer(Buffer.from([2]))), // version 3
    integer(serial),
    ecdsaWithSHA256,
    name,
    sequence(time(now - skew), time(now + lifetime)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions),
  );
  return {
    certificate: sequence(body, ecdsaWithSHA256, bits(sign('sha256', body, privateKey))),
    key: /** @type {string} */ (privateKey.export({ type: 'pkcs8', format: 'pem' })),
  };
}

/** A certificate in PEM. */
export function pem(/** @type {Buffer} */ certificate) {
  const lines = certificate.toString('base64').replace(/(.{64})/g, '$1\n').trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}
