// The handshake of the WebSocket protocol (RFC 6455), as far as a server needs it that has no extensions.

import { createHash } from "node:crypto";
import { Problem } from "./problems.ts";

/** Section 1.3: proves that the server speaks WebSocket and nothing else. */
const ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const ENCODER = new TextEncoder();

/** The names of `Sec-WebSocket-Protocol`. */
export function protocolsOf(headers: Headers): string[] {
  const names = (headers.get("sec-websocket-protocol") ?? "").split(",");
  return names.map((name) => name.trim()).filter((name) => name !== "");
}

/**
 * The head of the response that completes the handshake (section 4.2.2).
 *
 * @param protocol the one of the client's subprotocols that is agreed on
 * @throws {Problem} 400 where the request is no valid handshake
 */
export function handshake({ method, headers }: Request, protocol: string | undefined): Uint8Array {
  const lists = (name: string, value: string) =>
    (headers.get(name) ?? "").toLowerCase().split(",").some((one) => one.trim() === value);
  if (method !== "GET" || !lists("upgrade", "websocket")) {
    throw new Problem(400, "This path speaks WebSocket alone; send Upgrade: websocket.");
  }
  const key = headers.get("sec-websocket-key") ?? "";
  const isValid = lists("connection", "upgrade") && /^[A-Za-z0-9+/]{22}==$/.test(key);
  if (!isValid || headers.get("sec-websocket-version") !== "13") {
    const detail = "No WebSocket handshake (RFC 6455): it takes Connection: Upgrade, " +
      "Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key.";
    throw new Problem(400, detail, {}, { "sec-websocket-version": "13" });
  }
  const accept = createHash("sha1").update(key + ACCEPT_GUID).digest("base64");
  const agreed = protocol === undefined ? "" : `sec-websocket-protocol: ${protocol}\r\n`;
  return ENCODER.encode(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" +
      `sec-websocket-accept: ${accept}\r\n${agreed}\r\n`,
  );
}
