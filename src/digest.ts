// Digests by the Web Crypto API, for the API's thread: node:crypto would take up 3 MB of memory there.

/** Returns the digest of text, encoded as UTF-8, or of bytes, in base64. */
export async function digestBase64(
  algorithm: "SHA-1" | "SHA-256",
  data: string | Uint8Array<ArrayBuffer>,
): Promise<string> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const digest = await crypto.subtle.digest(algorithm, bytes);
  return btoa(String.fromCharCode(...new Uint8Array(digest)));
}
