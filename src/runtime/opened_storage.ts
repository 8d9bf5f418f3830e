// The storage of a node that is starting: the database and identity in DATA_DIR, or memory only.

import { firstLine } from "../krpc/error_text.ts";
import { getLogger } from "logtape";
import type { Config } from "../config.ts";
import { ItemStore } from "../dht/items/item_store.ts";
import { PublishedStore } from "../dht/items/published.ts";
import { hex } from "../krpc/hex.ts";
import type { Id } from "../krpc/id.ts";
import { StorageError } from "../storage/sqlite.ts";
import { type BlobStore, MemoryBlobs } from "../storage/blobs.ts";
import { DiskStorage } from "../storage/disk.ts";
import { NodeClock } from "./clock.ts";
import { Records } from "./records.ts";
import { prepareDataDir } from "./data_directory.ts";
import { Identity, randomBytes, randomId } from "./identity/crypto.ts";
import {
  blobsPath,
  databasePath,
  identityPath,
  readIdentity,
  writeIdentity,
} from "./identity/identity.ts";

export interface OpenedStorage {
  readonly id: Id;
  /** Whether the node's id was created at this start, rather than read from the disk. */
  readonly isNewId: boolean;
  readonly identity: Identity;
  readonly items: ItemStore;
  readonly published: PublishedStore;
  /** The store for the bytes of the large values that this node publishes. */
  readonly blobs: BlobStore;
  readonly disk: DiskStorage | undefined;
  readonly clock: NodeClock;
  readonly records: Records;
}

type StorageConfig = Pick<Config, "dataDir" | "storageLimit">;

/** Opens DATA_DIR, and creates it if necessary. Throws a StorageError if DATA_DIR can't be used. */
export async function openStorage(
  { dataDir, storageLimit }: StorageConfig,
): Promise<OpenedStorage> {
  const log = getLogger(["dmnode", "storage"]);
  prepareDataDir(dataDir, (warning) => log.warning("{warning}", { warning }));
  const identity = readIdentity(dataDir);
  let clock = new NodeClock();
  const disk = await DiskStorage.open({
    worker: new Worker(new URL("./storage_worker.ts", import.meta.url), { type: "module" }),
    path: databasePath(dataDir),
    blobsPath: blobsPath(dataDir),
    // Accept an empty database only if there is no identity. The database is created first, so an identity without data
    // means that data was lost.
    mayBeEmpty: identity === undefined,
    limitBytes: storageLimit,
    startClock: (saved, latest) => {
      clock = new NodeClock({ saved, latest });
      return clock.now();
    },
    clock: () => clock.now(),
    randomBytes,
    observer: {
      failed: (error) =>
        log.error("{reason}. Until then values are refused", { reason: firstLine(error) }),
      recovered: () => log.info("Values are stored again"),
    },
    onLost: () =>
      log.warning("A value in {dataDir} is damaged or missing, and is left out", { dataDir }),
  });
  try {
    if (identity === undefined) refuseIfSigned(disk, dataDir);
    if (disk.damagedRows > 0) {
      log.warning("Values in {dataDir} are damaged, and are left out: {count}", {
        count: disk.damagedRows,
        dataDir,
      });
    }
    return {
      id: disk.nodeId,
      isNewId: identity === undefined,
      identity: identity ?? writeIdentity(dataDir, Identity.generate()),
      items: disk.items,
      published: disk.published,
      blobs: disk.blobs,
      disk,
      clock,
      records: new Records(disk.records, (name, bytes) => disk.saveRecord(name, bytes)),
    };
  } catch (error) {
    await disk.close();
    throw error;
  }
}

/**
 * Refuses to create a new identity if the node publishes values that it signed with another one. With a new identity,
 * the node could no longer change these values, and readers would look for new versions under the old public key.
 */
function refuseIfSigned({ published }: DiskStorage, dataDir: string): void {
  const signed = [...published.entries()].flatMap(({ item }) => item.signed ?? []);
  if (signed.length === 0) return;
  const values = signed.length === 1 ? "1 value" : `${signed.length} values`;
  throw new StorageError(
    `${
      identityPath(dataDir)
    } is missing, but this node publishes ${values} signed with public key ` +
      `${
        hex(signed[0].publicKey)
      }: restore that file, import the key with dmnode identity import, ` +
      "or give another --data-dir",
  );
}

/** Creates storage in memory for a node with a new id and identity. */
export function memoryStorage({ storageLimit }: StorageConfig): OpenedStorage {
  const id = randomId();
  return {
    id,
    isNewId: true,
    identity: Identity.generate(),
    items: new ItemStore(id, storageLimit, randomId().a),
    published: new PublishedStore(randomId().a),
    blobs: new MemoryBlobs(),
    disk: undefined,
    clock: new NodeClock(),
    records: new Records(),
  };
}
