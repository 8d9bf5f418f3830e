// WebSocket handshake and frames (RFC 6455), without extensions, for a server whose clients send no messages.

import { digestBase64 } from "../../digest.ts";
import { Problem } from "../problems.ts";
import { joined } from "./request_head.ts";

/** Close codes (RFC 6455, section 7.4.1, and IANA's registry). */
export const CloseCode = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  unsupportedData: 1003,
  messageTooBig: 1009,
  tryAgainLater: 1013,
} as const;

/** Opcodes of frames (RFC 6455, section 5.2). */
const Opcode = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f, CONTROL = 0x08;
const LENGTH_16 = 126, LENGTH_64 = 127, MASK_BYTES = 4;

/** The length of the longest head of a frame without a mask, in bytes. */
const MAX_HEAD = 10;
/** Maximum payload of a control frame (RFC 6455, section 5.5). */
const MAX_CONTROL_PAYLOAD = 125;

const ENCODER = new TextEncoder();

/** The constant with which a server proves that it speaks WebSocket (RFC 6455, section 1.3). */
const ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The subprotocols that the client offers in `Sec-WebSocket-Protocol`. */
export function protocolsOf(headers: Headers): string[] {
  const names = (headers.get("sec-websocket-protocol") ?? "").split(",");
  return names.map((name) => name.trim()).filter((name) => name !== "");
}

/** The response head for a handshake (RFC 6455, section 4.2.2). Throws a Problem (400) if the request is invalid. */
export async function handshake(
  { method, headers }: Request,
  protocol: string | undefined,
): Promise<Uint8Array> {
  const lists = (name: string, value: string) =>
    (headers.get(name) ?? "").toLowerCase().split(",").some((one) => one.trim() === value);
  if (method !== "GET" || !lists("upgrade", "websocket")) {
    throw new Problem(400, "This path is a WebSocket; send Upgrade: websocket.");
  }
  const key = headers.get("sec-websocket-key") ?? "";
  const isValid = lists("connection", "upgrade") && /^[A-Za-z0-9+/]{22}==$/.test(key);
  if (!isValid || headers.get("sec-websocket-version") !== "13") {
    const detail = "This is not a WebSocket handshake (RFC 6455); send Connection: Upgrade, " +
      "Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key.";
    throw new Problem(400, detail, { headers: { "sec-websocket-version": "13" } });
  }
  const accept = await digestBase64("SHA-1", key + ACCEPT_GUID);
  const agreed = protocol === undefined ? "" : `sec-websocket-protocol: ${protocol}\r\n`;
  return ENCODER.encode(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" +
      `sec-websocket-accept: ${accept}\r\n${agreed}\r\n`,
  );
}

/** Encodes each text as one text frame. */
export function textFrames(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  // A UTF-16 code unit needs at most three bytes of UTF-8.
  const bytes = new Uint8Array(texts.reduce((sum, { length }) => sum + MAX_HEAD + 3 * length, 0));
  let at = 0;
  for (const text of texts) {
    // The length of a frame's head depends on the length of its encoded text. So leave room for the
    // longest head, encode the text, and then close the gap.
    const { written } = ENCODER.encodeInto(text, bytes.subarray(at + MAX_HEAD));
    const head = writeTextHead(bytes.subarray(at), written);
    bytes.copyWithin(at + head, at + MAX_HEAD, at + MAX_HEAD + written);
    at += head + written;
  }
  return bytes.slice(0, at);
}

/** Writes the head of a text frame, and returns the head's length. */
function writeTextHead(bytes: Uint8Array, payload: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  bytes[0] = FIN | Opcode.text;
  bytes[1] = payload < LENGTH_16 ? payload : payload < 2 ** 16 ? LENGTH_16 : LENGTH_64;
  if (bytes[1] < LENGTH_16) return 2;
  if (bytes[1] === LENGTH_16) {
    view.setUint16(2, payload);
    return 4;
  }
  view.setBigUint64(2, BigInt(payload));
  return MAX_HEAD;
}

/** A close frame. `reason` may have up to 123 bytes. */
export function closeFrame(code: number, reason = ""): Uint8Array {
  return controlFrame(Opcode.close, [code >>> 8, code & 0xff, ...ENCODER.encode(reason)]);
}

/** A ping frame without a payload. */
export const PING = controlFrame(Opcode.ping, []);

function controlFrame(opcode: number, payload: Iterable<number>): Uint8Array {
  const bytes = [...payload];
  return Uint8Array.of(FIN | opcode, bytes.length, ...bytes);
}

/** A frame that a client sent. */
export type ClientFrame =
  | { readonly kind: "ping"; readonly pong: Uint8Array }
  | { readonly kind: "pong" }
  /** The client closed the connection or broke the protocol. The server answers with this code and reason. */
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

/** Parses the frames of a client. Buffers at most one incomplete control frame, or the incomplete head of a message. */
export class ClientFrames {
  readonly #maxMessage: number;
  #held = new Uint8Array();

  /** @param maxMessage messages of up to this many bytes are refused as unsupported, longer ones as too big */
  constructor(maxMessage: number) {
    this.#maxMessage = maxMessage;
  }

  /** Yields the frames that are complete with these bytes. Must not be called again after a `close` frame. */
  *read(bytes: Uint8Array): Generator<ClientFrame> {
    this.#held = joined(this.#held, bytes);
    for (let frame; (frame = this.#next()) !== undefined;) {
      yield frame;
      if (frame.kind === "close") return;
    }
  }

  /** Removes the first frame from the buffer. Returns undefined if the frame is incomplete. */
  #next(): ClientFrame | undefined {
    const bytes = this.#held;
    if (bytes.length < 2) return undefined;
    const opcode = bytes[0] & OPCODE, short = bytes[1] & LENGTH;
    const bad = (reason: string) => closing(CloseCode.protocolError, reason);
    if ((bytes[0] & RESERVED) !== 0) return bad("A reserved bit is set.");
    if ((bytes[1] & MASKED) === 0) return bad("The frame is not masked.");
    if (opcode >= CONTROL) {
      if ((bytes[0] & FIN) === 0 || short > MAX_CONTROL_PAYLOAD) {
        return bad("A control frame is too long or fragmented.");
      }
      const length = 2 + MASK_BYTES + short;
      if (bytes.length < length) return undefined;
      this.#held = bytes.slice(length);
      return control(opcode, unmasked(bytes.subarray(2, length)));
    }
    if (opcode > Opcode.binary) return bad("The opcode is unknown.");
    // Read only the length of a message, because messages are always refused.
    const head = short === LENGTH_64 ? 10 : short === LENGTH_16 ? 4 : 2;
    if (bytes.length < head) return undefined;
    let length = head === 2 ? short : 0;
    for (let i = 2; i < head; i++) length = length * 256 + bytes[i];
    const isLong = length > this.#maxMessage;
    const code = isLong ? CloseCode.messageTooBig : CloseCode.unsupportedData;
    return closing(code, "Clients may not send messages here.");
  }
}

function control(opcode: number, payload: Uint8Array): ClientFrame {
  if (opcode === Opcode.ping) return { kind: "ping", pong: controlFrame(Opcode.pong, payload) };
  if (opcode === Opcode.pong) return { kind: "pong" };
  if (opcode !== Opcode.close) return closing(CloseCode.protocolError, "The opcode is unknown.");
  // The payload is either empty or begins with a two-byte code (RFC 6455, section 5.5.1).
  if (payload.length === 0) return closing(CloseCode.normal, "");
  const code = payload.length === 1 ? 0 : payload[0] * 256 + payload[1];
  return isCloseCode(code)
    ? closing(code, "")
    : closing(CloseCode.protocolError, "The close code is invalid.");
}

/** Whether a client may send this close code (RFC 6455, section 7.4). */
function isCloseCode(code: number): boolean {
  const isDefined = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
  return isDefined || (code >= 3000 && code <= 4999);
}

function closing(code: number, reason: string): ClientFrame {
  return { kind: "close", code, reason };
}

/** Unmasks a payload. `bytes` is the mask, followed by the masked payload. */
function unmasked(bytes: Uint8Array): Uint8Array {
  return bytes.slice(MASK_BYTES).map((byte, i) => byte ^ bytes[i % MASK_BYTES]);
}
