// Determines the media type of a value from its bytes.

export const JSON_TYPE = "application/json";
export const TEXT_TYPE = "text/plain; charset=utf-8";
export const BINARY_TYPE = "application/octet-stream";

/**
 * The media type: application/json for JSON (RFC 8259), text/plain for other UTF-8, else application/octet-stream. The
 * beginning of a longer value is never JSON, as only its end can show that.
 *
 * @param {Uint8Array} bytes @param {boolean} [isWhole] whether these are all bytes of the value
 */
export function mediaType(bytes, isWhole = true) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(bytes, { stream: !isWhole });
  } catch {
    return BINARY_TYPE;
  }
  return isWhole && isJsonText(text) ? JSON_TYPE : TEXT_TYPE;
}

/** @param {string} text */
function isJsonText(text) {
  // Rule out most other texts before calling the parser, because its exceptions are slow.
  if (!/^[ \t\r\n]*[[{"\d\-tfn]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
