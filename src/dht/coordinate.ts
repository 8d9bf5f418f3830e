// Network coordinates (Dabek, Cox, Kaashoek and Morris, "Vivaldi", SIGCOMM 2004): round-trip times to nodes never asked.

import { word } from "../krpc/id.ts";

/** Bytes of a coordinate on the wire: three axes and the height, 16 bits each. */
export const COORDINATE_BYTES = 8;

/** Bytes of a sender's own coordinate: that, and its error. */
export const OWN_COORDINATE_BYTES = 9;

/** Units of the wire's figures to the millisecond: ±8 s are told, to a quarter of a millisecond. */
const UNITS_PER_MS = 4;

/** The wire's error is in hundredths, up to 2.55. */
const ERROR_UNITS = 100;

/** The paper's c_e and c_c: how much one sample moves the error and the coordinate. */
const ERROR_GAIN = 0.25, MOVE_GAIN = 0.25;

/** Samples beyond this are no round trip but an outage, or a lie. */
const MAX_RTT_MS = 2_000;

/** The least a height can be: no access line is free. */
const MIN_HEIGHT_MS = 0.5;

/** A point in a three-dimensional space of milliseconds, over which each node's access line stands as a height. */
export interface Coordinate {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly height: number;
}

/** The round-trip time that two coordinates suggest. */
export function expectedRtt(p: Coordinate, q: Coordinate): number {
  const x = p.x - q.x, y = p.y - q.y, z = p.z - q.z;
  return Math.sqrt(x * x + y * y + z * z) + p.height + q.height;
}

/** Reads a coordinate; the caller has checked the length. */
export function readCoordinate(bytes: Uint8Array, at: number): Coordinate {
  const part = (i: number) => ((bytes[at + 2 * i] << 24) | (bytes[at + 2 * i + 1] << 16)) >> 16;
  return {
    x: part(0) / UNITS_PER_MS,
    y: part(1) / UNITS_PER_MS,
    z: part(2) / UNITS_PER_MS,
    height: Math.max(MIN_HEIGHT_MS, part(3) / UNITS_PER_MS),
  };
}

/**
 * The round-trip time to a coordinate in the wire's form, its eight bytes as two words; NaN where they are zeros, for
 * an unknown one. Contacts keep that form: 10,000 simulated nodes have two million of them.
 */
export function expectedRttTo(own: Coordinate, xy: number, zHeight: number): number {
  const height = (zHeight << 16) >> 16;
  if (height === 0) return NaN; // every node has one
  const x = own.x - (xy >> 16) / UNITS_PER_MS;
  const y = own.y - ((xy << 16) >> 16) / UNITS_PER_MS;
  const z = own.z - (zHeight >> 16) / UNITS_PER_MS;
  const theirs = Math.max(MIN_HEIGHT_MS, height / UNITS_PER_MS);
  return Math.sqrt(x * x + y * y + z * z) + own.height + theirs;
}

/** The same to one place of a list of coordinates; NaN where the list ends before. */
export function expectedRttAt(
  own: Coordinate,
  list: Uint8Array | undefined,
  index: number,
): number {
  const at = index * COORDINATE_BYTES;
  if (list === undefined || at + COORDINATE_BYTES > list.length) return NaN;
  return expectedRttTo(own, word(list, at), word(list, at + 4));
}

/** Writes a coordinate. */
export function writeCoordinate(c: Coordinate, bytes: Uint8Array, at: number): void {
  const part = (i: number, ms: number) => {
    const units = Math.max(-32768, Math.min(32767, Math.round(ms * UNITS_PER_MS)));
    bytes[at + 2 * i] = units >> 8;
    bytes[at + 2 * i + 1] = units;
  };
  part(0, c.x);
  part(1, c.y);
  part(2, c.z);
  part(3, c.height);
}

/** Our own coordinate, which each measured round trip moves a little. */
export class OwnCoordinate implements Coordinate {
  x = 0;
  y = 0;
  z = 0;
  height = MIN_HEIGHT_MS;
  /** 1: nothing is known; near 0: predictions fit. */
  error = 1;

  /** Learns from a round trip to a node that told `bytes`; `chance` yields numbers from 0 to below 1. */
  learn(bytes: Uint8Array, rtt: number, chance: () => number): void {
    if (bytes.length !== OWN_COORDINATE_BYTES || !(rtt > 0) || rtt > MAX_RTT_MS) return;
    const other = readCoordinate(bytes, 0);
    const theirError = Math.max(0.01, bytes[COORDINATE_BYTES] / ERROR_UNITS);
    const expected = expectedRtt(this, other);
    const weight = this.error / (this.error + theirError);
    const sampleError = Math.min(1, Math.abs(expected - rtt) / rtt);
    this.error += ERROR_GAIN * weight * (sampleError - this.error);
    const force = MOVE_GAIN * weight * (rtt - expected);
    let x = this.x - other.x, y = this.y - other.y, z = this.z - other.z;
    let length = Math.sqrt(x * x + y * y + z * z);
    if (length < 0.001) { // two nodes at one point: apart in any direction
      x = chance() - 0.5, y = chance() - 0.5, z = chance() - 0.5;
      length = Math.sqrt(x * x + y * y + z * z) || 1;
    }
    const span = length + this.height + other.height;
    this.x += force * x / span;
    this.y += force * y / span;
    this.z += force * z / span;
    this.height = Math.max(
      MIN_HEIGHT_MS,
      this.height + force * (this.height + other.height) / span,
    );
  }

  /** For the wire. */
  write(bytes: Uint8Array, at: number): void {
    writeCoordinate(this, bytes, at);
    bytes[at + COORDINATE_BYTES] = Math.min(255, Math.round(this.error * ERROR_UNITS));
  }
}
