// The messages of the protocol, read from the .proto files when the plugin starts: there is no generated code.
//
// Bytes are Buffers, 64-bit integers are Longs (see numbers.mjs), enums are their names, and the name of the call in a
// Request is in `request.call`. A message or bytes field that is left out is null or empty, but for those that the files call
// optional: these are undefined.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadSync } from '@grpc/proto-loader';

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

/** Where the files are: beside the plugin when it was made from the template, or where Backplane keeps them. */
const folders = ['../../proto', '../../../../../proto'].map(here);
const main = 'backplane/transport/v1/transport.proto';
const folder = folders.find((each) => existsSync(`${each}/${main}`));
if (folder === undefined) {
  throw new Error(`${main} is in none of ${folders.join(', ')}: copy the folder proto of Backplane to the first of them`);
}

const options = { enums: String, defaults: true, oneofs: true };

const definitions = loadSync([main, 'go-plugin.proto', 'health.proto'], { ...options, includeDirs: [folder, here('./proto')] });

/** @returns {any} a service, or a message with serialize and deserialize */
export function definition(/** @type {string} */ name) {
  const found = definitions[name];
  if (found === undefined) throw new Error(`the .proto files in ${folder} have no ${name}: they are of another version`);
  return found;
}

const transport = definition('backplane.transport.v1.TransportService');

/** The host's messages on an exchange. */
export const decodeRequests = transport.Exchange.requestDeserialize;

/** Ours, which are encoded before they are written: they are put together and cut by their bytes. */
export const encodeResponse = transport.Exchange.responseSerialize;

export const services = {
  transport: { ...transport, Exchange: { ...transport.Exchange, responseSerialize: (/** @type {Buffer} */ encoded) => encoded } },
  health: definition('grpc.health.v1.Health'),
  controller: definition('plugin.GRPCController'),
};
