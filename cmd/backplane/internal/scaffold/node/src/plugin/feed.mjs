// A feed is what a subscription, watch or listener brings, as far as the host has room for it: see Credit in
// transport.proto. A handler that gets one pushes into it from then on, and never waits for the host.
//
//   watchEntries(request, call, feed) { feed.closed = store.watch(request.prefix, (change) => feed.push('changes', change)); return {}; }

const weight = 64; // of an event, beside what it carries
const mostHeld = 4096; // events that wait for credit
const mostBytes = 4 << 20;

/**
 * What stands for events that were given up, by the kind of what was.
 * @type {Record<string, (lost: number) => object>}
 */
const gaps = {
  changes: () => ({ resync: true }),
  events: (lost) => ({ gap: { cause: 'CAUSE_OVERFLOW', lost } }),
  frames: () => ({ gap: true }),
};

/** @param {any} event */
function weigh(event) {
  const m = event.message ?? event; // an Event; a Change or Frame
  const headers = m.headers ?? [];
  return headers.reduce(
    (/** @type {number} */ sum, /** @type {any} */ h) => sum + h.name.length + h.value.length,
    weight + (m.payload?.length ?? 0) + (m.key?.length ?? 0),
  );
}

export class Feed {
  #credit;
  #send;
  /** @type {{ kind: string, event: any, size: number }[]} */
  #held = [];
  #bytes = 0;
  #lost = 0; // events since the last that is held
  #kind = ''; // of those
  #over = false;

  /** @type {() => void} called once, when nobody wants more of it */
  closed = () => {};

  /** @param {number} credit @param {(events: object) => void} send */
  constructor(credit, send) {
    this.#credit = credit;
    this.#send = send;
  }

  /** @param {'events' | 'changes' | 'frames'} kind @param {any} event */
  push(kind, event) {
    if (this.#over) return;
    const size = weigh(event);
    if (this.#lost > 0 || this.#held.length >= mostHeld || this.#bytes + size > mostBytes) {
      this.#lost++;
      this.#kind = kind;
    } else {
      this.#held.push({ kind, event, size });
      this.#bytes += size;
    }
    this.#drain();
  }

  credit(/** @type {number} */ bytes) {
    this.#credit += bytes;
    this.#drain();
  }

  close() {
    if (this.#over) return;
    this.#over = true;
    this.#held = [];
    this.closed();
  }

  #drain() {
    let sent = 0;
    for (; sent < this.#held.length && this.#credit > 0; sent++) {
      const { kind, event, size } = this.#held[sent];
      this.#credit -= size;
      this.#bytes -= size;
      this.#send({ [kind]: [event] });
    }
    this.#held.splice(0, sent);
    if (this.#lost > 0 && this.#held.length === 0 && this.#credit > 0) {
      this.#credit -= weight;
      this.#send({ [this.#kind]: [gaps[this.#kind](this.#lost)] });
      this.#lost = 0;
    }
  }
}
