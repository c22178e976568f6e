// Listings of names by prefix, page by page. A cursor is the last name of the page before.

const mostNames = 1000; // of a page

/**
 * Lists the live rows of a table that has a space, a name and an end, in the order of their names.
 * @param {import('../space.mjs').Space} space
 * @param {{ table: string, name: string, columns?: string }} of
 * @param {any} page @param {number} now
 * @returns {{ rows: any[], next?: Buffer }} the rows have the name as `name`
 */
export function list(space, { table, name, columns = '' }, page, now) {
  const wanted = page.limit.toNumber();
  const limit = wanted === 0 ? mostNames : Math.min(wanted, mostNames);
  const rows = space.db.all(
    `SELECT ${name} AS name ${columns} FROM ${table}
      WHERE space = @space AND ${name} > @cursor AND ${name} >= @prefix AND (@end IS NULL OR ${name} < @end) AND ends > @now
      ORDER BY ${name} LIMIT @limit`,
    { space: space.id, cursor: page.cursor, prefix: page.prefix, end: following(page.prefix), now, limit },
  );
  return { rows, next: rows.length === limit ? rows[limit - 1].name : undefined };
}

/** The first name after all that begin with a prefix; null: there is none. */
function following(/** @type {Buffer} */ prefix) {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return null;
  const next = Buffer.from(prefix.subarray(0, length));
  next[length - 1]++;
  return next;
}

/** The page of a request, which may be left out. */
export const pageOf = (/** @type {any} */ request) => request.page ?? noPage;

const zero = { toNumber: () => 0 };
const noPage = { prefix: Buffer.alloc(0), cursor: Buffer.alloc(0), limit: zero };
