// Names that never repeat: 96 random bits each. Many are drawn at once, because asking the system costs more than a write.
import { randomFillSync } from 'node:crypto';

const size = 12;
const many = 256;
let pool = Buffer.alloc(0);

/** @returns {Buffer} */
export function draw() {
  if (pool.length === 0) pool = randomFillSync(Buffer.allocUnsafeSlow(size * many));
  const name = pool.subarray(0, size);
  pool = pool.subarray(size);
  return name;
}
