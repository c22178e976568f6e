// A clock that tests can move: import it before the plugin (node --import), and Date.now is as many milliseconds ahead as the
// file that TEST_CLOCK names says.
import { readFileSync } from 'node:fs';

const real = Date.now;
const file = /** @type {string} */ (process.env.TEST_CLOCK);

Date.now = () => real() + Number(readFileSync(file, 'utf8'));
