// JSON whose integers keep all their digits. JSON.parse alone rounds integers beyond 2^53, such as a large `seq`.

/**
 * Parses JSON. Integers that a number can't hold exactly become bigints. Browsers without the source text access of
 * JSON.parse (ES2026) round them.
 *
 * @param {string} text @returns {any} @throws {SyntaxError}
 */
export function parseJson(text) {
  // The parameter `context` is too new for the types of JSON.parse.
  return JSON.parse(text, /** @type {(key: string, value: unknown) => unknown} */ (exact));
}

/** @param {string} _key @param {unknown} value @param {{ source?: string }} [context] */
function exact(_key, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source ?? "";
  return /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/**
 * Formats a value as JSON. Bigints become integers with all their digits.
 *
 * @param {unknown} value @param {number} [indent] @returns {string}
 */
export function jsonText(value, indent) {
  try {
    return JSON.stringify(value, null, indent);
  } catch (error) {
    // The value contains a bigint. A replacer is slow, so it is used only if it is needed.
    if (!(error instanceof TypeError)) throw error;
    return JSON.stringify(value, raw, indent);
  }
}

/** @param {string} _key @param {unknown} value */
function raw(_key, value) {
  if (typeof value !== "bigint") return value;
  // JSON.rawJSON is too new for the types of JSON. It exists wherever JSON.parse has created the bigint.
  return /** @type {{ rawJSON(text: string): unknown }} */ (/** @type {unknown} */ (JSON))
    .rawJSON(`${value}`);
}
