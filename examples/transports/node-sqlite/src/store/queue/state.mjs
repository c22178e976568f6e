// The states of a task, numbered as in the protocol.
export const State = { scheduled: 1, pending: 2, active: 3, completed: 4, dead: 5, cancelled: 6 };

const names = ['', 'scheduled', 'pending', 'active', 'completed', 'dead', 'cancelled'];

/** As people read it. */
export const nameOf = (/** @type {number} */ state) => names[state];

/** As the protocol names it. */
export const wireOf = (/** @type {number} */ state) => `TASK_STATE_${names[state].toUpperCase()}`;

/** @returns {number} the state that the protocol names so; NaN for none */
export const stateOf = (/** @type {string} */ wire) => {
  const at = names.indexOf(wire.replace('TASK_STATE_', '').toLowerCase());
  return at > 0 ? at : NaN;
};
