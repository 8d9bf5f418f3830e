// Large values over a network in memory.

import {
  LargeValues,
  type LargeValuesOptions,
  type Progress,
} from "../../src/large_values/large_values.ts";
import { Id, ID_BYTES } from "../../src/krpc/id.ts";
import { Layout, PIECE_BYTES } from "../../src/large_values/layout.ts";
import { decodeRoot, type Root } from "../../src/large_values/manifest.ts";
import { pieceItem } from "../../src/large_values/pieces.ts";
import { dataCrypto } from "../../src/runtime/identity/crypto.ts";
import { inPieces, InstantClock, MemoryNetwork, SimpleBlobs } from "./memory_network.ts";

/**
 * Gives a network a value of any size, without storing it: the id of each piece is its number, and the content of each
 * data piece is zeros. (The network is not checked for hashes: that is the core's task.) Returns the root.
 */
export function plantZeros(network: MemoryNetwork, size: number): Root {
  const layout = new Layout(size);
  const idsFrom = (number: number, count: number) => {
    const ids = new Uint8Array(count * ID_BYTES);
    for (let i = 0; i < count; i++) new Id(0, 0, 0, 0, number + i).write(ids, i * ID_BYTES);
    return ids;
  };
  network.made = ({ e: number }) => {
    const level = layout.levelOf(number), piece = number - level.first;
    const length = level.lengthOf(piece), offset = piece * PIECE_BYTES;
    if (level.first === 0) return pieceItem(dataCrypto, number, new Uint8Array(length));
    const first = level.first - level.size / ID_BYTES + Math.floor(offset / ID_BYTES);
    const ids = idsFrom(first, Math.ceil(PIECE_BYTES / ID_BYTES) + 1);
    const start = offset % ID_BYTES;
    return pieceItem(dataCrypto, number, ids.subarray(start, start + length));
  };
  const { first, pieces } = layout.top;
  return {
    size,
    sha256: new Uint8Array(32),
    hint: "binary",
    pieces: idsFrom(first, pieces),
  };
}

export function setup(nodes = 100, options: Partial<LargeValuesOptions> = {}) {
  const network = new MemoryNetwork(nodes), clock = new InstantClock(), blobs = new SimpleBlobs();
  const progress: Progress[] = [];
  const values = new LargeValues({
    network,
    blobs,
    crypto: dataCrypto,
    clock,
    onProgress: (step) => progress.push(step),
    ownValue: () => undefined,
    ...options,
  });
  /** Stores a value, and returns a function that reads it. */
  const hold = async (bytes: Uint8Array) => {
    const tree = await values.store(inPieces(bytes)), { target } = tree.root;
    const root = decodeRoot(tree.root.value)!;
    network.gets.length = 0;
    return {
      tree,
      target,
      root,
      read: (start = 0, end = root.size) => values.read(target, root, { start, end }),
    };
  };
  return { network, blobs, clock, progress, values, hold };
}
