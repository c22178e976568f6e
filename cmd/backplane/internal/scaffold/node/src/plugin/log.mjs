// The plugin's log: one JSON object a line on the standard error, which the host puts into its own log. Never log a URL or
// options: they may hold passwords.

/** @param {string} level @param {string} msg @param {Record<string, unknown>} [fields] */
function write(level, msg, fields) {
  process.stderr.write(`${JSON.stringify({ ...fields, time: new Date().toISOString(), level, msg })}\n`);
}

export const log = {
  info: (/** @type {string} */ msg, /** @type {Record<string, unknown>} */ fields = {}) => write('info', msg, fields),
  warn: (/** @type {string} */ msg, /** @type {Record<string, unknown>} */ fields = {}) => write('warn', msg, fields),
  error: (/** @type {string} */ msg, /** @type {Record<string, unknown>} */ fields = {}) => write('error', msg, fields),
};
