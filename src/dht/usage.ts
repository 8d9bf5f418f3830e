// Counts the bytes that a node sends and receives, by purpose.

import type { Family } from "../krpc/endpoint.ts";
import { Line } from "./line.ts";
import { type Bytes, noBytes, type Purpose } from "./purpose.ts";

/**
 * The size of the headers of UDP and IP in bytes. Providers bill them too, and a short packet has more headers than
 * content.
 */
const HEADER_BYTES: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };

/** Bytes in both directions since the start, with the headers of UDP and IP and the seal of each packet. */
export class Usage {
  readonly sent: Bytes = noBytes();
  readonly received: Bytes = noBytes();
  /** The limits on the rates. */
  readonly line = new Line();

  /** `sealBytes` is the number of bytes that sealing with the network key adds to a packet; 0 without a key. */
  constructor(readonly sealBytes = 0) {}

  noteSent(purpose: Purpose, bytes: number, family: Family): void {
    const all = bytes + this.sealBytes + HEADER_BYTES[family];
    this.sent[purpose] += all;
    this.line.noteSent(all, purpose);
  }

  noteReceived(purpose: Purpose, bytes: number, family: Family): void {
    const all = bytes + this.sealBytes + HEADER_BYTES[family];
    this.received[purpose] += all;
    if (purpose !== "other") this.line.noteReceived(all);
  }
}
