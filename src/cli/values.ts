// The commands for values: put, get, follow, stat, published and forget.

import { hex, unhex } from "../krpc/hex.ts";
import { isSeq, nextSeq, parseSeq, type Seq } from "../krpc/seq.ts";
import { ago, bytes, duration, ms, plural, until } from "../web/format.js";
import { jsonText, parseJson } from "../web/json.js";
import { mediaType } from "../web/media_type.js";
import {
  HEADER_BYTES,
  isSealed,
  newSealKey,
  open as openSealed,
  openedSize,
  seal,
  sealedSize,
  SealError,
  sealLink,
} from "../web/seal.js";
import { Api, type ApiFlags, NodeGone, Refused } from "./client/api_client.ts";
import { receiveEvents } from "./client/event_stream.ts";
import { wholeId } from "./client/ids.ts";
import { exists } from "./identity.ts";
import { type Link, linkOf, readLink, writeLink } from "./links.ts";
import type { Stats } from "../reports/stats.ts";
import type {
  Published,
  PublishedValue,
  Replicas,
  Stored,
  Transfers,
  ValueEvent,
} from "../reports/values.ts";
import { reason, UserError } from "./terminal/errors.ts";
import { interruptible, untilInterrupted } from "./terminal/interrupt.ts";
import {
  memoryOutput,
  openOutput,
  type Output,
  standardOutput,
  terminalOutput,
} from "./terminal/output.ts";
import { ProgressBar } from "./terminal/progress.ts";
import { ids, printPairs, printTable, right, texts } from "./terminal/table.ts";
import { print, printable, printJson, stderr, stdout } from "./terminal/terminal.ts";

/** The options of commands for a single value. The user names it by its hash, or by its key and the key's owner. */
export interface ValueFlags extends ApiFlags {
  readonly key?: string;
  readonly publicKey?: string;
  readonly output?: string;
  /** A file with the link of a sealed value. */
  readonly linkFile?: string;
}

interface PutFlags extends ApiFlags {
  readonly key?: string;
  readonly ifSeq?: Seq;
  readonly minReplicas?: number;
  readonly ttl?: number;
  readonly seal?: boolean;
  /**
   * A file for the link of the sealed value; implies `seal`. If the file exists, it contains the
   * link of the previous version.
   */
  readonly linkFile?: string;
}

/** The interval at which `put` asks the node how much of the value is stored. */
const POLL_MS = 250;

/** The number of published values in each request when searching through all of them. */
const PAGE_SIZE = 1_000;

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Stores a file or standard input as a value, and prints its hash. For a sealed value without --link-file, prints the
 * link.
 */
export async function put(file: string, flags: PutFlags): Promise<void> {
  if (flags.ifSeq !== undefined && flags.key === undefined) {
    throw new UserError("--if-seq requires --key: only values under a key have versions", true);
  }
  const api = new Api(flags);
  if (file === "") throw new UserError("the file's name is empty", true);
  const sealKey = await keyForPut(api, flags), { linkFile } = flags;
  const given = await openInput(file),
    input = sealKey === undefined ? given : sealed(given, sealKey);
  const stored = await interruptible((signal) => store(api, input, { ...flags, signal }));
  const link = sealKey === undefined ? undefined : sealLink(stored.hash, sealKey);
  const isNewFile = link !== undefined && linkFile !== undefined && !exists(linkFile);
  if (isNewFile) keepLink(linkFile, link);
  if (flags.json) return printJson({ ...stored, link });
  print(linkFile === undefined ? link ?? stored.hash : stored.hash);
  if (isNewFile) stderr.write(`the link is in ${linkFile}\n`);
  if (stderr.isTerminal) {
    const version = stored.seq === null ? "" : `, version ${stored.seq}`;
    stderr.write(
      `${stored.kind}${version}: ${bytes(stored.size)} on ${plural(stored.replicas, "node")} in ` +
        `${ms(stored.elapsed_ms)}\n`,
    );
  }
  stderr.write(`${lifeText(stored)}\n`);
  if (link === undefined || linkFile !== undefined || (stored.seq ?? 0) <= 1) return;
  stderr.write(
    "dmnode: links of earlier versions don't open this one: --link-file lets all versions have one link\n",
  );
}

/**
 * Writes the link of a stored value to a file. If that fails, prints the link, because nothing else contains the key.
 */
function keepLink(file: string, link: string): void {
  try {
    writeLink(file, link);
  } catch (error) {
    print(link);
    throw error;
  }
}

/** The key with which to seal a new value; undefined to store the value unencrypted. */
async function keyForPut(
  api: Api,
  { key, seal, linkFile }: PutFlags,
): Promise<string | undefined> {
  if (linkFile === undefined) return seal ? newSealKey() : undefined;
  if (!exists(linkFile)) return newSealKey();
  const link = readLink(linkFile);
  if (key === undefined) {
    throw new UserError(`${linkFile} exists: give another name, or --key to store a new version`);
  }
  if (link.hash === await hashOf(api, undefined, { key })) return link.key;
  throw new UserError(`${linkFile} has the link of another value: give another name`);
}

/** Encrypts the input, so that the node gets neither the content nor the key. */
function sealed(
  { stream, size }: Awaited<ReturnType<typeof openInput>>,
  key: string,
): Awaited<ReturnType<typeof openInput>> {
  return {
    stream: ReadableStream.from(seal(stream, key)),
    size: size === null ? null : sealedSize(size),
  };
}

/** Says in one line what happens to a value if the node leaves. */
export function lifeText(
  { this_node_only, lives_until }: Pick<Stored, "this_node_only" | "lives_until">,
): string {
  return this_node_only || lives_until === null
    ? "dmnode: stored on this node only: the value is gone if this node leaves"
    : `lives until ${lives_until} if this node leaves`;
}

async function openInput(
  path: string,
): Promise<{ readonly stream: ReadableStream<Bytes>; readonly size: number | null }> {
  if (path === "-" || path === "/dev/stdin") {
    if (Deno.stdin.isTerminal() && stderr.isTerminal) {
      stderr.write("Type the value, then press Ctrl-D on a new line.\n");
    }
    return { stream: Deno.stdin.readable, size: null };
  }
  try {
    const { isDirectory, isFile, size } = await Deno.stat(path);
    if (isDirectory) throw new Error("it is a directory");
    return { stream: (await Deno.open(path)).readable, size: isFile ? size : null };
  } catch (error) {
    throw new UserError(`${path} can't be read: ${reason(error)}`, false, { cause: error });
  }
}

/**
 * The size of the sent chunks, in bytes. Chunks of 64 KiB that arrive faster than they are stored would cost
 * Deno.serve ten times as much time, and more memory.
 */
const CHUNK_BYTES = 60_000;

async function store(
  api: Api,
  { stream, size }: Awaited<ReturnType<typeof openInput>>,
  { key, ifSeq, minReplicas, ttl, json, signal }: PutFlags & { readonly signal: AbortSignal },
): Promise<Stored> {
  const label = crypto.randomUUID();
  let sent = 0, chunk = new Uint8Array(CHUNK_BYTES), filled = 0;
  const chunker = new TransformStream<Bytes, Bytes>({
    transform(piece, controller) {
      for (let at = 0; at < piece.length;) {
        const part = piece.subarray(at, at + CHUNK_BYTES - filled);
        chunk.set(part, filled);
        at += part.length;
        filled += part.length;
        if (filled < CHUNK_BYTES) break;
        controller.enqueue(chunk);
        chunk = new Uint8Array(CHUNK_BYTES);
        filled = 0;
      }
      sent += piece.length;
    },
    flush(controller) {
      if (filled > 0) controller.enqueue(chunk.subarray(0, filled));
    },
  });
  const bar = new ProgressBar("bytes", !json);
  bar.phase("Storing", size);
  // Show the progress that the node reports. Bytes that this program has sent may still be in a buffer of the system.
  const showStored = async () => {
    try {
      const { transfers } = await api.get<Transfers>("/network/transfers", "transfers");
      const transfer = transfers.find((transfer) => transfer.label === label);
      if (transfer === undefined) return;
      bar.phase(transfer.state === "receiving" ? "Sending to the node" : "Storing", size);
      bar.set(transfer.done_bytes);
    } catch {
      // Ignore the error: if the node is gone, the request that stores the value also fails and reports the problem.
    }
  };
  const poll = bar.isShown ? setInterval(showStored, POLL_MS) : undefined;
  try {
    return await api.request(
      api.at("/network/store", { key, cas: ifSeq, min_replicas: minReplicas, ttl }),
      {
        method: "POST",
        body: stream.pipeThrough(chunker),
        headers: {
          "content-type": "application/octet-stream",
          "x-transfer-label": label,
          // Announce the length in this header, because Deno sends a stream without Content-Length.
          ...(size === null ? {} : { "x-transfer-length": `${size}` }),
        },
        signal,
      },
      (response) => api.json<Stored>(response, "hash"),
    );
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NodeGone && sent > 0) throw await whyBrokenOff(api, sent, error);
    if (error instanceof Refused && isTooLong(error)) throw tooLong(error.members.limit, error);
    if (error instanceof Refused && error.status === 507) throw noRoom(error);
    if (error instanceof Refused && ifSeq !== undefined) throw whyOvertaken(error, ifSeq);
    throw error;
  } finally {
    clearInterval(poll);
    bar.clear();
  }
}

/** The error for a value that other nodes have no space to store. */
const noRoom = (cause: Refused) =>
  new UserError(
    `${cause.message}: raise STORAGE_LIMIT on the other nodes, add nodes, or try again when values have expired`,
    false,
    { cause },
  );

/** Explains why the node refused a store with --if-seq, in terms of the command line. */
function whyOvertaken(error: Refused, ifSeq: Seq): UserError {
  const { status, members: { seq } } = error;
  if (!isSeq(seq) || (status !== 409 && status !== 412)) return error;
  // If the newest version has the largest number, no version can follow it, so there is no other --if-seq to advise.
  if (status === 409 && nextSeq(seq) === undefined) return error;
  const problem = status === 409
    ? `version ${seq} was stored at the same time, and won`
    : seq === 0
    ? `there is no value under this key yet, so no version ${ifSeq}`
    : ifSeq === 0
    ? `there is a value under this key already, version ${seq}`
    : `the newest version under this key is ${seq}, not ${ifSeq}`;
  const advice = seq === 0 && status === 412
    ? "--if-seq 0 stores the first"
    : `read that version, and use --if-seq ${seq} to change it`;
  return new UserError(`${problem}: ${advice}`);
}

/** Explains why the connection broke during a store. The node may have ended it because the value is too long. */
async function whyBrokenOff(api: Api, sent: number, cause: NodeGone): Promise<UserError> {
  const { config } = await api.get<Stats>("/network/stats", "config");
  const limit = config.max_value_size;
  if (sent > limit) return tooLong(limit, cause);
  const message = `the connection broke after ${bytes(sent)} (${reason(cause.cause)}): try again`;
  return new UserError(message, false, { cause });
}

/**
 * Whether the node refused the body because of its length. If the refusal states the value's size, its own message
 * explains the problem.
 */
const isTooLong = ({ status, members }: Refused) =>
  status === 413 && members.limit !== undefined && members.size === undefined;

/** The error for a value of more than `limit` bytes, in terms of the user's setting. */
const tooLong = (limit: unknown, cause: Error) =>
  new UserError(
    `the value is over the ${limit} bytes that this node accepts (MAX_VALUE_SIZE)`,
    false,
    { cause },
  );

/** Fetches a value, and writes it to standard output or a file. */
export async function get(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags), { output, json } = flags;
  const { hash: target, sealKey } = await namedValue(api, hash, flags);
  const memory = memoryOutput();
  const open = () => {
    if (output !== undefined) return openOutput(output);
    return json ? memory : stdout.isTerminal ? terminalOutput() : standardOutput();
  };
  const value = await namingTheKey(
    flags,
    (signal) => fetchValue(api, target, { ...flags, sealKey, signal, open }),
  );
  if (!json) return;
  if (output === undefined) printJson({ hash: target, ...value, ...memory.text() });
  else printJson({ hash: target, file: output, ...value });
}

/** Runs a task. If the value is not found, the error names its key, since the user may not know its hash. */
export async function namingTheKey<T>(
  { key, publicKey }: ValueFlags,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    return await interruptible(task);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404 || key === undefined) throw error;
    const owner = publicKey === undefined
      ? "of this node (--public-key selects another owner)"
      : `of ${publicKey}`;
    throw new UserError(`the key ${JSON.stringify(key)} ${owner}: ${error.message}`);
  }
}

/** Fetches a value, and writes it to the output that `open` returns. Returns the metadata for `--json`. */
async function fetchValue(
  api: Api,
  hash: string,
  { key, json, output, sealKey, signal, open }: ValueFlags & {
    readonly sealKey: string | undefined;
    readonly signal: AbortSignal;
    open(): Output | Promise<Output>;
  },
) {
  return await api.request(api.at(`/data/${hash}`, { key }), { signal }, async (response) => {
    const { headers } = response;
    const seq = headers.get("x-seq"),
      { pieces, total, typeOf } = contentOf(response, sealKey, signal);
    const bar = new ProgressBar("bytes", !json && (output !== undefined || !stdout.isTerminal));
    bar.phase("Fetching", total);
    const target = await open();
    let size = 0, contentType = typeOf(new Uint8Array(0));
    try {
      for await (const piece of pieces) {
        if (size === 0) {
          contentType = typeOf(piece);
          target.begin?.(contentType);
        }
        await target.write(piece);
        size += piece.length;
        bar.set(size);
      }
      await target.finish();
    } catch (error) {
      await target.discard();
      throw error instanceof SealError ? unopened(error) : error;
    } finally {
      bar.clear();
    }
    return {
      size,
      content_type: contentType,
      seq: seq === null ? null : parseSeq(seq) ?? null,
      public_key: headers.get("x-public-key"),
    };
  });
}

/** The content of a fetched value. `typeOf` determines the media type from the first piece. */
interface Content {
  readonly pieces: AsyncIterable<Uint8Array>;
  /** The number of bytes in all pieces; null if the node did not report it. */
  readonly total: number | null;
  typeOf(first: Uint8Array): string;
}

/** The content of a response. If `sealKey` is given, opens the sealed value. */
function contentOf(response: Response, sealKey: string | undefined, signal: AbortSignal): Content {
  const length = response.headers.get("content-length");
  const received = length === null ? null : Number(length), body = bodyOf(response, signal);
  if (sealKey === undefined) {
    const type = response.headers.get("content-type") ?? "";
    return { pieces: unsealed(body), total: received, typeOf: () => type };
  }
  const total = received === null ? null : openedSize(received);
  return {
    pieces: openSealed(body, sealKey),
    total,
    typeOf: (first) => mediaType(first, first.length === total),
  };
}

/**
 * Yields the pieces of a value that is fetched without a link. If the value is sealed, tells the
 * user.
 */
async function* unsealed(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const head = new Uint8Array(HEADER_BYTES);
  let length = 0;
  for await (const piece of body) {
    if (length < HEADER_BYTES) {
      // The first pieces may be shorter than the header.
      const part = piece.subarray(0, HEADER_BYTES - length);
      head.set(part, length);
      length += part.length;
      if (length === HEADER_BYTES && isSealed(head)) {
        stderr.write(
          "dmnode: this value is sealed: only dmnode get with its link shows the content\n",
        );
      }
    }
    yield piece;
  }
}

/** Explains why a sealed value can't be opened, in terms of the command line. */
function unopened({ code, message }: SealError): UserError {
  switch (code) {
    case "not_sealed":
      return new UserError("the value is not sealed: fetch it by its hash");
    case "wrong_key":
      return new UserError(
        "the link does not open the value: it is of another version, or the value was changed",
      );
    default:
      return new UserError(`the value can't be opened: ${message}`);
  }
}

/** Yields the pieces of a response's body. If reading fails, throws NodeGone. */
async function* bodyOf(response: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* response.body ?? [];
  } catch (error) {
    signal.throwIfAborted();
    throw new NodeGone(
      "the node stopped sending: parts of the value are missing or damaged; its log has details " +
        `(${reason(error)})`,
      false,
      { cause: error },
    );
  }
}

/** Prints a line for each version of a value, until the user presses Ctrl-C. */
export async function follow(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags);
  const { hash: target, sealKey } = await namedValue(api, hash, flags);
  const { key, json, output } = flags;
  let last: ValueEvent | undefined;
  const show = async (version: ValueEvent, signal: AbortSignal) => {
    // Ignore repetitions of an immutable value. It has no seq, so the node sends it again after each reconnection.
    if (version.seq === null && last !== undefined) return;
    last = version;
    if (output !== undefined) {
      const open = () => openOutput(output);
      await fetchValue(api, target, { key, sealKey, json: true, signal, open });
    }
    print(
      json
        ? jsonText(version)
        : `${version.at}  version ${version.seq ?? "-"}  ${bytes(version.size)}`,
    );
  };
  await untilInterrupted((signal) =>
    receiveEvents(api, {
      request() {
        const headers: Record<string, string> = { accept: "text/event-stream" };
        if (isSeq(last?.seq)) headers["last-event-id"] = `${last.seq}`;
        return { url: api.at(`/data/${target}`, { key }), headers };
      },
      onData: (text) => show(parseJson(text), signal),
    }, signal)
  );
}

/** Makes the node stop republishing a value. */
export async function forget(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags);
  const target = await hashOf(api, hash, flags);
  await api.request(api.at(`/data/${target}`), { method: "DELETE" }, () => Promise.resolve());
  if (flags.json) printJson({ hash: target, forgotten: true });
}

/** Prints the values that the node keeps published. */
export async function published(
  { limit, offset, ...flags }: ApiFlags & { limit?: number; offset?: number },
): Promise<void> {
  const list = await new Api(flags)
    .get<Published>("/network/published", "published", { limit, offset });
  if (flags.json) return printJson(list);
  printPublished(list.published);
  print(`${list.published.length} of ${plural(list.total, "value")}`);
}

/** Makes the node publish a value again now. */
export async function publish(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags), target = await hashOf(api, hash, flags);
  const value = await api.request(
    api.at(`/network/published/${target}`),
    { method: "POST" },
    (response) => api.json<PublishedValue>(response, "next_at"),
  );
  if (flags.json) return printJson(value);
  print(`${value.hash} will be published next; dmnode published shows the outcome`);
}

/** Prints a table of values that the node keeps published. */
export function printPublished(values: readonly PublishedValue[]): void {
  const now = Date.now();
  printTable(
    [
      ids("HASH"),
      "KIND",
      texts("KEY"),
      right("VERSION"),
      right("SIZE"),
      right("COPIES"),
      right("LAST"),
      right("NEXT"),
      "STATE",
      right("LIVES UNTIL"),
    ],
    values.map((value) => [
      value.hash,
      value.kind,
      printable(value.key ?? "-"),
      `${value.seq ?? "-"}`,
      value.size === null ? "-" : bytes(value.size),
      value.failures > 0 ? [`${value.replicas}`, "yellow"] : `${value.replicas}`,
      value.last_at === null ? "never" : ago(Date.parse(value.last_at), now),
      until(Date.parse(value.next_at), now),
      value.state === "safe" ? "safe" : [value.state, "yellow"],
      value.lives_until ?? "this node only",
    ]),
  );
}

/** Prints the nodes that hold a value. */
export async function stat(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags);
  const target = await hashOf(api, hash, flags);
  const url = api.at(`/data/${target}`, { key: flags.key, replicas: 1 });
  const report = await namingTheKey(
    flags,
    (signal) => api.request(url, { signal }, (response) => api.json<Replicas>(response, "holders")),
  );
  if (flags.json) return printJson(report);
  const { kind, seq, holders, count, wanted, parts } = report;
  printTable(
    [ids("NODE"), "ADDRESS", right("VERSION"), right("AGE")],
    holders.map((holder) => [
      holder.node_id,
      holder.address ?? "this node",
      `${holder.seq ?? "-"}`,
      holder.age_s === null ? "-" : duration(holder.age_s),
    ]),
  );
  const version = seq === null ? "" : `, version ${seq}`;
  print(`${kind}${version}: ${plural(count, "copy", "copies")}, ${wanted} wanted`);
  if (parts === null) return;
  const pieces =
    `${parts.lost} of ${parts.counted} lost, ${parts.mean.toFixed(1)} copies on average, ` +
    `${parts.wanted} wanted; ${plural(parts.pieces, "piece")} in all`;
  printPairs([["its pieces", pieces]]);
}

/** Returns the hash of the value that the user named and, if the user gave a link, the key that opens it. */
async function namedValue(
  api: Api,
  text: string | undefined,
  flags: ValueFlags,
): Promise<{ readonly hash: string; readonly sealKey: string | undefined }> {
  const link = linkFrom(text, flags);
  return link === undefined
    ? { hash: await hashOf(api, text, flags), sealKey: undefined }
    : { hash: link.hash, sealKey: link.key };
}

/** The link that the user gave, as an argument or in a file. */
function linkFrom(text: string | undefined, { linkFile }: ValueFlags): Link | undefined {
  if (linkFile === undefined) return text === undefined ? undefined : linkOf(text);
  if (text === undefined) return readLink(linkFile);
  throw new UserError("give either a hash or link, or --link-file", true);
}

/**
 * Returns the hash of a value that the user named by its hash or key. By default, `publicKey` is
 * the public key of the node.
 */
export async function hashOf(
  api: Api,
  hash: string | undefined,
  { key, publicKey }: ValueFlags,
): Promise<string> {
  if (hash !== undefined) {
    const link = linkOf(hash);
    if (link !== undefined) return link.hash;
    if (publicKey === undefined) return await publishedHash(api, hash);
    throw new UserError("--public-key requires --key: a hash identifies the owner too", true);
  }
  if (key === undefined) throw new UserError("give a hash, or --key", true);
  if (publicKey !== undefined && !/^[0-9a-fA-F]{64}$/.test(publicKey)) {
    const given = JSON.stringify(publicKey);
    throw new UserError(`${given} is not a public key: give 64 hex digits`, true);
  }
  const owner = publicKey ?? (await api.get<Stats>("/network/stats", "public_key")).public_key;
  // BEP 44: the target of a mutable item is the SHA-1 of its public key and its salt, which is the user's key.
  const item = Uint8Array.of(...unhex(owner), ...new TextEncoder().encode(key));
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-1", item)));
}

/** Returns the hash of a value. `text` is that hash or, if this node publishes the value, its first digits. */
function publishedHash(api: Api, text: string): Promise<string> {
  return wholeId(text, "hash of a published value", async function* () {
    for (let offset = 0;; offset += PAGE_SIZE) {
      const query = { limit: PAGE_SIZE, offset };
      const { published } = await api.get<Published>("/network/published", "published", query);
      for (const { hash } of published) yield hash;
      if (published.length < PAGE_SIZE) return;
    }
  });
}
