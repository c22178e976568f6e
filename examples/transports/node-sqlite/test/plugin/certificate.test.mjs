import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { makeCertificate, pem } from '../../src/plugin/certificate.mjs';

test('a certificate is for localhost, vouches for itself and has its key', () => {
  for (let round = 0; round < 50; round++) {
    const { certificate, key } = makeCertificate();

    const read = new X509Certificate(pem(certificate));
    assert.equal(read.checkHost('localhost'), 'localhost');
    assert.equal(read.subject, 'CN=localhost');
    assert.ok(read.ca);
    assert.ok(read.verify(read.publicKey));
    assert.ok(read.checkPrivateKey(createPrivateKey(key)));
  }
});

test('a certificate holds now and for ten years', () => {
  const now = Date.UTC(2026, 1, 3, 4, 5, 6);

  const read = new X509Certificate(makeCertificate(now).certificate);

  assert.equal(Date.parse(read.validFrom), now - 60_000);
  assert.equal(Date.parse(read.validTo), now + 3650 * 24 * 3600 * 1000);
});

test('no two certificates are alike', () => {
  const serials = Array.from({ length: 50 }, () => new X509Certificate(makeCertificate().certificate).serialNumber);

  assert.equal(new Set(serials).size, serials.length);
});
