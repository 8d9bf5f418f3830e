// Fuzzing of the frames that a WebSocket client sends: valid ones, invalid ones and garbage, cut anywhere.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type ClientFrame, ClientFrames, CloseCode } from "../../src/api/front/websocket.ts";
import { concat } from "../packets.ts";
import type { Subject } from "./subject.ts";

/** Longer messages are refused as too big. */
const MAX_MESSAGE = 100;

/** The longest control frame: a head of 2 bytes, a mask of 4 and a payload of 125 (RFC 6455, section 5.5). */
const MAX_CONTROL_FRAME = 131;

interface Frame {
  readonly isFinal: boolean;
  readonly reserved: number;
  readonly opcode: number;
  readonly isMasked: boolean;
  readonly mask: Uint8Array;
  /** How the length is written. */
  readonly form: "short" | "16 bits" | "64 bits" | "wrong";
  readonly payload: Uint8Array;
}

const frames: fc.Arbitrary<Frame> = fc.record({
  isFinal: fc.constantFrom(true, true, true, false),
  reserved: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 4, 7),
  opcode: fc.constantFrom(9, 9, 9, 10, 10, 8, 0, 1, 2, 3, 7, 11, 15),
  isMasked: fc.constantFrom(true, true, true, true, true, false),
  mask: fc.uint8Array({ minLength: 4, maxLength: 4 }),
  form: fc.constantFrom("short", "short", "short", "16 bits", "64 bits", "wrong"),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 125 }),
    fc.uint8Array({ maxLength: 300 }),
    // The payload of a close frame begins with a code.
    fc.integer({ min: 900, max: 5_100 }).map((code) => Uint8Array.of(code >> 8, code & 255)),
  ),
});

function encode({ isFinal, reserved, opcode, isMasked, mask, form, payload }: Frame): Uint8Array {
  const { length } = payload;
  const given = form === "wrong" ? length + 3 : length;
  const head = given > 65_535 || form === "64 bits"
    ? [127, 0, 0, 0, 0, 0, 0, given >> 8, given & 255]
    : given > 125 || form === "16 bits"
    ? [126, given >> 8, given & 255]
    : [given];
  head[0] |= isMasked ? 0x80 : 0;
  const body = isMasked ? payload.map((byte, i) => byte ^ mask[i & 3]) : payload;
  return concat(
    Uint8Array.of((isFinal ? 0x80 : 0) | (reserved << 4) | opcode, ...head),
    isMasked ? mask : new Uint8Array(),
    body,
  );
}

export interface FrameInput {
  readonly bytes: Uint8Array;
  /** Where the bytes are cut, each modulo their number. */
  readonly cuts: number[];
}

/** Reads bytes in parts, as they arrive from the network. */
function read(parts: readonly Uint8Array[]): ClientFrame[] {
  const reader = new ClientFrames(MAX_MESSAGE), found: ClientFrame[] = [];
  for (const part of parts) {
    found.push(...reader.read(part));
    if (found.at(-1)?.kind === "close") break;
  }
  return found;
}

function check({ bytes, cuts }: FrameInput): void {
  const whole = read([bytes]);
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length]
    .sort((x, y) => x - y);
  const parts = places.slice(1).map((end, i) => bytes.subarray(places[i], end));
  assert.deepEqual(read(parts), whole, "the way in which bytes arrive changes their meaning");
  for (const [i, frame] of whole.entries()) {
    if (frame.kind === "ping") {
      assert.equal(frame.pong[0], 0x80 | 10);
      assert.equal(frame.pong.length, 2 + frame.pong[1]);
      assert.ok(frame.pong.length <= MAX_CONTROL_FRAME);
    } else if (frame.kind === "close") {
      assert.equal(i, whole.length - 1, "nothing follows a close frame");
      assert.ok(frame.code >= CloseCode.normal && frame.code <= 4999);
      assert.ok(frame.reason.length <= 123);
    }
  }
  // Without an end, only control frames may have been read, and at most one incomplete frame may be left.
  const isOpen = whole.at(-1)?.kind !== "close";
  assert.ok(!isOpen || bytes.length < (whole.length + 1) * MAX_CONTROL_FRAME, "bytes pile up");
}

export const FRAMES: Subject<FrameInput> = {
  name: "frames",
  inputs: fc.record({
    bytes: fc.oneof(
      fc.array(frames, { maxLength: 6 }).map((list) => concat(...list.map(encode))),
      fc.uint8Array({ maxLength: 200 }),
    ),
    cuts: fc.array(fc.nat(2_000), { maxLength: 8 }),
  }),
  check,
};
