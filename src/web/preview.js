// Previews of values: the beginning of a text, a picture, or a hex dump.

/** Maximum length of a preview: characters of text, or bytes of other data. */
const MAX_TEXT_SHOWN = 64 * 1024, MAX_BYTES_SHOWN = 512;
/** Larger pictures are not decoded: the pixels of 25 million need 100 MB of memory. */
const MAX_PICTURE_BYTES = 16_000_000, MAX_PIXELS = 25_000_000;
/** The size of a picture can be read from its first bytes. Those of a JPEG may follow a long description. */
const HEAD_BYTES = 256 * 1024;

/**
 * Returns the beginning of a value as plain text, and its pixels if it is a picture. A value of any type is never
 * shown as a page.
 *
 * @param {import("./transfer.js").Fetched} value
 * @returns {Promise<{ text: string, isText: boolean, isCut: boolean, picture: ImageBitmap | null }>}
 */
export async function previewOf({ body, type }) {
  if (type.startsWith("application/json") || type.startsWith("text/")) {
    const text = await body.slice(0, MAX_TEXT_SHOWN).text();
    const isCut = body.size > MAX_TEXT_SHOWN;
    return { text: isCut ? text : pretty(text, type), isText: true, isCut, picture: null };
  }
  const shown = new Uint8Array(await body.slice(0, MAX_BYTES_SHOWN).arrayBuffer());
  const picture = await pictureOf(body);
  return { text: hexDump(shown), isText: false, isCut: body.size > MAX_BYTES_SHOWN, picture };
}

/** @param {string} text @param {string} type */
function pretty(text, type) {
  // JSON.parse would change numbers of more than 15 digits.
  if (!type.startsWith("application/json") || /\d{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Returns a hex dump with offsets, bytes and characters. Each line covers sixteen bytes. @param {Uint8Array} shown */
export function hexDump(shown) {
  const lines = [];
  for (let at = 0; at < shown.length; at += 16) {
    const part = Array.from(shown.subarray(at, at + 16));
    const digits = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const characters = part.map((byte) =>
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·"
    ).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${digits.padEnd(47)}  ${characters}`);
  }
  return lines.join("\n");
}

/**
 * Decodes a picture. The policy of the page allows no pictures but its own, and pixels on a canvas can't contain a
 * script. Returns null if the bytes are not a picture, or if the picture is too large.
 *
 * @param {Blob} body @returns {Promise<ImageBitmap | null>}
 */
async function pictureOf(body) {
  if (body.size > MAX_PICTURE_BYTES) return null;
  const size = pictureSize(new Uint8Array(await body.slice(0, HEAD_BYTES).arrayBuffer()));
  if (size === null || size.width * size.height > MAX_PIXELS) return null;
  try {
    return await createImageBitmap(body);
  } catch {
    return null;
  }
}

/**
 * Reads the size of a PNG, GIF, JPEG or WebP from its first bytes, so that a small file that claims to be a huge picture
 * is never decoded. Null for other bytes.
 *
 * @param {Uint8Array} bytes
 */
export function pictureSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const has = (/** @type {number} */ at, /** @type {string} */ text) =>
    at + text.length <= bytes.length &&
    Array.from(text).every((c, i) => bytes[at + i] === c.charCodeAt(0));
  if (has(1, "PNG\r\n\x1a\n") && bytes.length >= 24) {
    return { width: view.getUint32(16), height: view.getUint32(20) };
  }
  if (has(0, "GIF8") && bytes.length >= 10) {
    return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  }
  if (has(0, "RIFF") && has(8, "WEBP") && bytes.length >= 30) return webpSize(view, has);
  return bytes[0] === 0xff && bytes[1] === 0xd8 ? jpegSize(view) : null;
}

/** @param {DataView} view @param {(at: number, text: string) => boolean} has */
function webpSize(view, has) {
  if (has(12, "VP8 ")) {
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  }
  if (has(12, "VP8L")) {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
  }
  if (!has(12, "VP8X")) return null;
  const at = (/** @type {number} */ i) => (view.getUint32(i, true) & 0xff_ffff) + 1;
  return { width: at(24), height: (view.getUint32(26, true) >>> 8) + 1 };
}

/** @param {DataView} view */
function jpegSize(view) {
  // Each segment starts with a marker and its length, up to the one with the size (ISO 10918-1, annex B).
  for (let at = 2; at + 9 <= view.byteLength;) {
    if (view.getUint8(at) !== 0xff) return null;
    const marker = view.getUint8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    at += 2 + view.getUint16(at + 2);
  }
  return null;
}
