// Which published values would have too few copies if some peers were gone.

/** @typedef {import("../reports/values.ts").Holders["values"][number]} HeldValue */
/** @typedef {{ value: HeldValue, left: number, lost: number }} Loss */

/**
 * Returns the values that would have fewer than `below` copies without the lost peers, the worst first, and the number
 * of values whose holders are unknown.
 *
 * @param {readonly HeldValue[]} values @param {ReadonlySet<string>} lost the first eight digits of ids
 * @param {number} below
 */
export function lossOf(values, lost, below) {
  /** @type {Loss[]} */
  const losses = [];
  let unknown = 0;
  for (const value of values) {
    if (value.holders.length === 0) {
      unknown++;
      continue;
    }
    const left = value.holders.filter((digits) => !lost.has(digits)).length;
    if (left < below) losses.push({ value, left, lost: value.holders.length - left });
  }
  losses.sort((x, y) =>
    x.left - y.left || y.lost - x.lost || (x.value.hash < y.value.hash ? -1 : 1)
  );
  return { losses, unknown };
}

/**
 * Reads a subnet such as 10.0.0.0/8 or 2001:db8::/32. Null if the text is none.
 *
 * @param {string} text @returns {((address: string) => boolean) | null} whether a peer's host:port is in it
 */
export function subnetOf(text) {
  const [, host, length] = /^([\d.]+|[\da-f:]+)\/(\d{1,3})$/i.exec(text.trim()) ?? [];
  if (host === undefined) return null;
  const bits = bitsOf(host), prefix = Number(length);
  if (bits === null || prefix > bits.length) return null;
  const start = bits.slice(0, prefix);
  return (address) => {
    const other = bitsOf(hostOf(address));
    return other !== null && other.length === bits.length && other.startsWith(start);
  };
}

/** The host of host:port, without brackets and zone. @param {string} address */
function hostOf(address) {
  return address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "").split("%")[0];
}

/** The bits of an IP address as a text of 0 and 1; null for other texts. @param {string} host @returns {string | null} */
function bitsOf(host) {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(host)) {
    const bytes = host.split(".").map(Number);
    return bytes.some((byte) => byte > 255) ? null : binary(bytes, 8);
  }
  if (!/^[\da-f:]+$/i.test(host)) return null;
  const [head, tail, ...more] = host.split("::");
  if (more.length > 0) return null;
  const groups = (/** @type {string} */ part) => part === "" ? [] : part.split(":");
  const before = groups(head), after = groups(tail ?? "");
  const missing = 8 - before.length - after.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  const all = [...before, ...Array(missing).fill("0"), ...after];
  return all.every((group) => /^[\da-f]{1,4}$/i.test(group))
    ? binary(all.map((group) => parseInt(group, 16)), 16)
    : null;
}

/** @param {readonly number[]} numbers @param {number} width */
function binary(numbers, width) {
  return numbers.map((number) => number.toString(2).padStart(width, "0")).join("");
}
