// Computes digests with the Web Crypto API, for the API's thread. node:crypto would use 3 MB of memory there.

/** Returns the digest of bytes, or of text in UTF-8. The digest is encoded in base64. */
export async function digestBase64(algorithm: Algorithm, data: Data): Promise<string> {
  return btoa(String.fromCharCode(...await digest(algorithm, data)));
}

/** Returns the digest of bytes, or of text in UTF-8. The digest is encoded in lower-case hex. */
export async function digestHex(algorithm: Algorithm, data: Data): Promise<string> {
  const bytes = await digest(algorithm, data);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

type Algorithm = "SHA-1" | "SHA-256";
type Data = string | Uint8Array<ArrayBuffer>;

async function digest(algorithm: Algorithm, data: Data): Promise<Uint8Array> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return new Uint8Array(await crypto.subtle.digest(algorithm, bytes));
}
