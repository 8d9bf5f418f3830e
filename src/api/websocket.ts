// The server's frames of the WebSocket protocol (RFC 6455), as far as one that has no extensions needs them and to which
// clients have nothing to say.

/** Close codes (section 7.4.1, and IANA's registry). */
export const CloseCode = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  unsupportedData: 1003,
  messageTooBig: 1009,
  tryAgainLater: 1013,
} as const;

/** Section 5.2. */
const Opcode = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f, CONTROL = 0x08;
const LENGTH_16 = 126, LENGTH_64 = 127, MASK_BYTES = 4;

/** Section 5.5: no control frame has more. */
const MAX_CONTROL_PAYLOAD = 125;

const ENCODER = new TextEncoder();

/** A frame each for these texts, one after the other. */
export function textFrames(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  // A character has three bytes at most, a head ten.
  const bytes = new Uint8Array(texts.reduce((sum, { length }) => sum + 10 + 3 * length, 0));
  let at = 0;
  for (const text of texts) {
    const head = at + headLength(text.length);
    const { written } = ENCODER.encodeInto(text, bytes.subarray(head));
    // Where the text is not ASCII its head may have to be longer.
    const shift = headLength(written) - headLength(text.length);
    if (shift > 0) bytes.copyWithin(head + shift, head, head + written);
    writeHead(bytes, at, Opcode.text, written);
    at = head + shift + written;
  }
  return bytes.slice(0, at);
}

/** A close frame; `reason` has at most 123 bytes. */
export function closeFrame(code: number, reason = ""): Uint8Array {
  const payload = ENCODER.encode(`  ${reason}`);
  payload[0] = code >>> 8;
  payload[1] = code & 0xff;
  return controlFrame(Opcode.close, payload);
}

/** A ping without a payload. */
export const PING = controlFrame(Opcode.ping, new Uint8Array());

function controlFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + payload.length);
  writeHead(bytes, 0, opcode, payload.length);
  bytes.set(payload, 2);
  return bytes;
}

function headLength(payload: number): number {
  return payload < LENGTH_16 ? 2 : payload < 2 ** 16 ? 4 : 10;
}

function writeHead(bytes: Uint8Array, at: number, opcode: number, payload: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  bytes[at] = FIN | opcode;
  if (payload < LENGTH_16) bytes[at + 1] = payload;
  else if (payload < 2 ** 16) {
    bytes[at + 1] = LENGTH_16;
    view.setUint16(at + 2, payload);
  } else {
    bytes[at + 1] = LENGTH_64;
    view.setBigUint64(at + 2, BigInt(payload));
  }
}

/** What a client's bytes come to. */
export type ClientFrame =
  | { readonly kind: "ping"; readonly pong: Uint8Array }
  | { readonly kind: "pong" }
  /** It closes, or has to be closed: this is the answer. */
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

/** Reads what a client sends, whatever that is, and keeps no more of it than one control frame. */
export class ClientFrames {
  readonly #maxMessage: number;
  #held = new Uint8Array();

  /** @param maxMessage bytes of a message; a longer one is too long, a shorter one is nothing that is taken either */
  constructor(maxMessage: number) {
    this.#maxMessage = maxMessage;
  }

  /** The frames that have come whole with these bytes; nothing is to be read after a `close`. */
  *read(bytes: Uint8Array): Generator<ClientFrame> {
    let rest = joined(this.#held, bytes);
    this.#held = new Uint8Array();
    while (rest.length > 0) {
      const frame = this.#frame(rest);
      if (frame === undefined) {
        this.#held = rest.slice();
        return;
      }
      yield frame.frame;
      if (frame.frame.kind === "close") return;
      rest = rest.subarray(frame.length);
    }
  }

  /** The frame at the start, and its length; undefined where that needs more bytes. */
  #frame(bytes: Uint8Array): { readonly frame: ClientFrame; readonly length: number } | undefined {
    if (bytes.length < 2) return undefined;
    const opcode = bytes[0] & OPCODE, short = bytes[1] & LENGTH;
    const bad = (reason: string) => closing(CloseCode.protocolError, reason);
    if ((bytes[0] & RESERVED) !== 0) return bad("A reserved bit is set.");
    if ((bytes[1] & MASKED) === 0) return bad("The frame is not masked.");
    if (opcode >= CONTROL) {
      if ((bytes[0] & FIN) === 0 || short > MAX_CONTROL_PAYLOAD) {
        return bad("A control frame is too long, or in pieces.");
      }
      const length = 2 + MASK_BYTES + short;
      if (bytes.length < length) return undefined;
      return control(opcode, unmasked(bytes.subarray(2, length)), length);
    }
    if (opcode > Opcode.binary) return bad("There is no such opcode.");
    // Of a message its length is enough: none is taken.
    const head = short === LENGTH_64 ? 10 : short === LENGTH_16 ? 4 : 2;
    if (bytes.length < head) return undefined;
    let length = head === 2 ? short : 0;
    for (let i = 2; i < head; i++) length = length * 256 + bytes[i];
    return length > this.#maxMessage
      ? closing(CloseCode.messageTooBig, "Clients have nothing to say here.")
      : closing(CloseCode.unsupportedData, "Clients have nothing to say here.");
  }
}

function control(opcode: number, payload: Uint8Array, length: number) {
  switch (opcode) {
    case Opcode.ping:
      return {
        frame: { kind: "ping", pong: controlFrame(Opcode.pong, payload) } as const,
        length,
      };
    case Opcode.pong:
      return { frame: { kind: "pong" } as const, length };
    case Opcode.close: {
      // Section 5.5.1: without a code, or with one; a lone byte is neither.
      if (payload.length === 0) return closing(CloseCode.normal, "");
      const code = payload.length === 1 ? 0 : payload[0] * 256 + payload[1];
      return isCloseCode(code)
        ? closing(code, "")
        : closing(CloseCode.protocolError, "There is no such close code.");
    }
    default:
      return closing(CloseCode.protocolError, "There is no such opcode.");
  }
}

/** Section 7.4: those that a client may send. */
function isCloseCode(code: number): boolean {
  const isDefined = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
  return isDefined || (code >= 3000 && code <= 4999);
}

function closing(code: number, reason: string) {
  return { frame: { kind: "close", code, reason } as const, length: 0 };
}

/** The payload after its mask. */
function unmasked(bytes: Uint8Array): Uint8Array {
  return bytes.slice(MASK_BYTES).map((byte, i) => byte ^ bytes[i % MASK_BYTES]);
}

function joined(x: Uint8Array, y: Uint8Array): Uint8Array {
  if (x.length === 0) return y;
  const both = new Uint8Array(x.length + y.length);
  both.set(x);
  both.set(y, x.length);
  return both;
}
