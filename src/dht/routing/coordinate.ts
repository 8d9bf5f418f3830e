// Network coordinates, which predict round-trip times (Dabek, Cox, Kaashoek and Morris, "Vivaldi", SIGCOMM 2004).

import { word } from "../../krpc/id.ts";

/** The size of a coordinate in messages: three axes and the height, 16 bits each. */
export const COORDINATE_BYTES = 8;

/** The size of the sender's own coordinate in messages: a coordinate, and one byte for its error. */
export const OWN_COORDINATE_BYTES = 9;

/** Messages give coordinates in units of a quarter of a millisecond, so 16 bits cover ±8 s. */
const UNITS_PER_MS = 4;

/** Messages give the error in units of one hundredth, so one byte covers up to 2.55. */
const ERROR_UNITS = 100;

/** The weights of one sample in the error and in the coordinate: c_e and c_c in the paper on Vivaldi. */
const ERROR_GAIN = 0.25, MOVE_GAIN = 0.25;

/** Cap on the round-trip times that we learn from. Longer ones are due to outages or lies. */
const MAX_RTT_MS = 2_000;

/**
 * A measured round trip contradicts a coordinate if it exceeds this factor times the predicted round trip, plus this
 * time. The factor allows for the usual error of predictions, and the time for the usual jitter.
 */
const CONTRADICTION_FACTOR = 2, CONTRADICTION_MS = 20;

/**
 * Each sample multiplies the remembered shortest round trip by this factor. An outdated short round trip thus loses its
 * effect, for example after this node has moved.
 */
const SHORTEST_GROWTH = 1.02;

/** The minimum height of a coordinate: every node's Internet connection adds some delay. */
const MIN_HEIGHT_MS = 0.5;

/** A point in a three-dimensional space of milliseconds, plus a height: the delay of the node's Internet connection. */
export interface Coordinate {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly height: number;
}

/** Returns the round-trip time that two coordinates predict, in ms. */
export function expectedRtt(p: Coordinate, q: Coordinate): number {
  const x = p.x - q.x, y = p.y - q.y, z = p.z - q.z;
  return Math.sqrt(x * x + y * y + z * z) + p.height + q.height;
}

/**
 * Whether a measured round trip proves the predicted one false. A false coordinate can make a node seem nearer than it
 * is, but can't make its answers arrive earlier. Returns false if the prediction is NaN.
 */
export function isContradicted(expected: number, rtt: number): boolean {
  return rtt > CONTRADICTION_FACTOR * expected + CONTRADICTION_MS;
}

/** Reads a coordinate from a message. The caller has checked the length of `bytes`. */
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
 * Returns the predicted round-trip time to a coordinate in wire form, given as two 32-bit words. Returns NaN if both
 * words are 0, which means that the coordinate is unknown. Contacts store this form to save memory: 10,000 simulated
 * nodes have two million contacts.
 */
export function expectedRttTo(own: Coordinate, xy: number, zHeight: number): number {
  const height = (zHeight << 16) >> 16;
  if (height === 0) return NaN; // every known coordinate has a height
  const x = own.x - (xy >> 16) / UNITS_PER_MS;
  const y = own.y - ((xy << 16) >> 16) / UNITS_PER_MS;
  const z = own.z - (zHeight >> 16) / UNITS_PER_MS;
  const theirs = Math.max(MIN_HEIGHT_MS, height / UNITS_PER_MS);
  return Math.sqrt(x * x + y * y + z * z) + own.height + theirs;
}

/** Returns the predicted round-trip time to entry `index` of a list of coordinates, or NaN if the list is too short. */
export function expectedRttAt(
  own: Coordinate,
  list: Uint8Array | undefined,
  index: number,
): number {
  const at = index * COORDINATE_BYTES;
  if (list === undefined || at + COORDINATE_BYTES > list.length) return NaN;
  return expectedRttTo(own, word(list, at), word(list, at + 4));
}

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

/** Our own coordinate. Each measured round trip moves it a little. */
export class OwnCoordinate implements Coordinate {
  x = 0;
  y = 0;
  z = 0;
  height = MIN_HEIGHT_MS;
  /** The relative error of our predictions: near 0 if they are accurate, 1 before the first measurement. */
  error = 1;
  /**
   * The shortest of the recent round trips. Each round trip includes our height, so our height can't exceed the
   * shortest. Without this bound, nodes that falsely claim to be near could raise our height up to their round trips.
   */
  #shortest = MAX_RTT_MS;

  /** Learns from a round trip to a node whose coordinate is `bytes`. `random` returns numbers in [0, 1). */
  learn(bytes: Uint8Array, rtt: number, random: () => number): void {
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
    if (length < 0.001) { // two nodes at the same point move apart in a random direction
      x = random() - 0.5, y = random() - 0.5, z = random() - 0.5;
      length = Math.sqrt(x * x + y * y + z * z) || 1;
    }
    const span = length + this.height + other.height;
    this.x += force * x / span;
    this.y += force * y / span;
    this.z += force * z / span;
    this.#shortest = Math.min(rtt, SHORTEST_GROWTH * this.#shortest);
    const height = this.height + force * (this.height + other.height) / span;
    this.height = Math.max(MIN_HEIGHT_MS, Math.min(this.#shortest, height));
  }

  /** Writes the coordinate and its error in wire form at offset `at`. */
  write(bytes: Uint8Array, at: number): void {
    writeCoordinate(this, bytes, at);
    bytes[at + COORDINATE_BYTES] = Math.min(255, Math.round(this.error * ERROR_UNITS));
  }
}
