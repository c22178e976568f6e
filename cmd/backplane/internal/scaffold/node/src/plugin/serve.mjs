// The life of a plugin: from the handshake until the host wants it to end, or is gone.
//
//   import { serve } from './plugin/serve.mjs';
//   serve({ open(settings) { … return backend; } });
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { pem } from './certificate.mjs';
import { greeting, startedByHost, terms } from './handshake.mjs';
import { log } from './log.mjs';
import { services } from './protocol.mjs';
import { Service } from './service.mjs';

const patience = 4000; // for what is under way when the plugin ends, in milliseconds: less than a host's stop_timeout

/**
 * serve makes a plugin of a transport. It returns when the plugin serves; the process ends by itself.
 * @param {import('./service.mjs').Transport} transport
 */
export async function serve(transport) {
  const debug = process.env.BACKPLANE_PLUGIN_DEBUG;
  if (!debug && !startedByHost()) {
    process.stderr.write(byHand);
    process.exit(1);
  }
  const plugin = new Plugin(transport);
  const hello = debug ? await plugin.listenForAnybody(debug) : await plugin.listenForHost();
  process.stdout.write(hello);
}

class Plugin {
  #server = new Server({ 'grpc.max_receive_message_length': 4 << 20, 'grpc.max_send_message_length': 4 << 20 });
  #service;
  #ending = false;

  /** @param {import('./service.mjs').Transport} transport */
  constructor(transport) {
    this.#service = new Service(transport);
    this.#server.addService(services.transport, this.#service.handlers);
    this.#server.addService(services.health, {
      Check: (/** @type {any} */ call, /** @type {any} */ reply) => {
        const known = ['', 'plugin'].includes(call.request.service);
        reply(null, { status: known ? 'SERVING' : 'SERVICE_UNKNOWN' });
      },
    });
    this.#server.addService(services.controller, {
      Shutdown: (/** @type {any} */ _, /** @type {any} */ reply) => {
        reply(null, {});
        this.end('the host asked for it');
      },
    });
  }

  /** Serves the host that has started the plugin, and nobody else. */
  async listenForHost() {
    const { address, certificate, key, host } = terms();
    const mine = { cert_chain: Buffer.from(pem(certificate)), private_key: Buffer.from(key) };
    const port = await this.#listen(address, ServerCredentials.createSsl(host, [mine], true));
    process.on('SIGTERM', () => this.end('SIGTERM'));
    process.on('SIGINT', () => {}); // of a terminal, which means the host
    if (process.env.BACKPLANE_PLUGIN_LIFELINE === 'stdin') {
      // The host holds the other end and never writes to it. It closes with the host, however that ends.
      const gone = () => this.end('the host is gone, or asked for it');
      process.stdin.on('end', gone).on('error', gone).resume();
    }
    return greeting(address, port, certificate);
  }

  /** Serves whoever comes, for a host that attaches: to be run in a debugger. */
  async listenForAnybody(/** @type {string} */ address) {
    if (!/^(127\.0\.0\.1|\[::1\]|localhost):\d+$|^unix:/.test(address)) {
      throw new Error(`BACKPLANE_PLUGIN_DEBUG=${address}: must be an address on this machine, as 127.0.0.1:0 or unix:/path`);
    }
    const port = await this.#listen(address, ServerCredentials.createInsecure());
    for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => this.end(signal));
    const where = address.startsWith('unix:') ? address : address.replace(/\d+$/, `${port}`);
    return `attach: "${where}"    # this plugin serves anybody on this machine: for debugging only\n`;
  }

  /** @param {string} address @param {ServerCredentials} credentials @returns {Promise<number>} the port, if it has one */
  #listen(address, credentials) {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, credentials, (error, port) => (error ? reject(error) : resolve(port)));
    });
  }

  /** Lets what is under way finish, and ends the process. */
  async end(/** @type {string} */ why) {
    if (this.#ending) return;
    this.#ending = true;
    const late = setTimeout(() => {
      log.warn('calls were still under way when the plugin had to end', { patience });
      process.exit(0);
    }, patience);
    try {
      await this.#service.close();
      await new Promise((resolve) => this.#server.tryShutdown(resolve));
    } catch (error) {
      log.error('the plugin could not end well', { why, error: error instanceof Error ? error.stack : String(error) });
    }
    clearTimeout(late);
    process.exit(0);
  }
}

const byHand = `this program is a plugin of Backplane: a node starts it, it does nothing by itself. Name it in the node's config:

    transports:
      mine:  { kind: plugin, program: ${JSON.stringify(process.argv[1])} }

To run it in a debugger, start it with BACKPLANE_PLUGIN_DEBUG=127.0.0.1:0 in its environment, and give the node what it prints:

    transports:
      mine:  { kind: plugin, attach: "127.0.0.1:PORT" }
`;
