// The commands that move values: put, get, follow, stat, published and forget.

import type { z } from "zod";
import type {
  PublishedResponse,
  ReplicasResponse,
  StatsResponse,
  StoreResponse,
  TransfersResponse,
  ValueEvent,
} from "../api/schemas.ts";
import { Api, type ApiFlags, NodeGone, Refused } from "./api_client.ts";
import { Interrupted, OutputClosed, reason, UserError } from "./errors.ts";
import { type Known, wholeId } from "./ids.ts";
import { interruptible } from "./interrupt.ts";
import { memoryOutput, openOutput, type Output, standardOutput, terminalOutput } from "./output.ts";
import { ProgressBar } from "./progress.ts";
import { keepConnected } from "./reconnect.ts";
import { printPairs, printTable } from "./table.ts";
import { print, printable, printJson, stderr, stdout } from "./terminal.ts";
import { ago, ahead, bytes, counted, duration, milliseconds } from "./units.ts";

type Stored = z.output<typeof StoreResponse>;
type Replicas = z.output<typeof ReplicasResponse>;
type Published = z.output<typeof PublishedResponse>;
type Transfers = z.output<typeof TransfersResponse>;
type Version = z.output<typeof ValueEvent>;
type Stats = z.output<typeof StatsResponse>;

/** How a value is named on the command line: by its hash, or by its key and whose it is. */
export interface ValueFlags extends ApiFlags {
  readonly key?: string;
  readonly publicKey?: string;
}

export interface PutFlags extends ApiFlags {
  readonly key?: string;
  readonly ifSeq?: number;
  readonly minReplicas?: number;
}

export interface GetFlags extends ValueFlags {
  readonly output?: string;
}

/** How often a store asks how far the network has taken what it sent. */
const POLL_MS = 250;

/** Published values that are asked for at once, where all of them are looked through. */
const PAGE = 1_000;

/** Stores a file or standard input; prints the hash. */
export async function put(file: string, flags: PutFlags): Promise<void> {
  if (flags.ifSeq !== undefined && flags.key === undefined) {
    throw new UserError("--if-seq takes a --key: other values have no versions", true);
  }
  const api = new Api(flags);
  if (file === "") throw new UserError("the file's name is empty", true);
  const isStandard = file === "-" || file === "/dev/stdin";
  const { stream, size } = isStandard ? standardInput() : await openFile(file);
  const stored = await interruptible((signal) => store(api, stream, size, flags, signal));
  if (flags.json) return printJson(stored);
  print(stored.hash);
  if (!stderr.isTerminal) return;
  const version = stored.seq === null ? "" : `, version ${stored.seq}`;
  stderr.write(
    `${stored.kind}${version}: ${bytes(stored.size)} on ${counted(stored.replicas, "node")} in ` +
      `${milliseconds(stored.elapsed_ms)}\n`,
  );
}

async function store(
  api: Api,
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  size: number | null,
  { key, ifSeq, minReplicas, json }: PutFlags,
  signal: AbortSignal,
): Promise<Stored> {
  const label = crypto.randomUUID();
  let sent = 0;
  const body = stream.pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(piece, controller) {
        sent += piece.length;
        controller.enqueue(piece);
      },
    }),
  );
  const bar = new ProgressBar("bytes", !json);
  bar.phase("Storing", size);
  // What is sent is not stored yet: megabytes of it wait in the system's buffers.
  const poll = bar.isShown ? setInterval(() => showStored(api, label, bar), POLL_MS) : undefined;
  try {
    return await api.request(
      "POST",
      api.at("/network/store", { key, cas: ifSeq, min_replicas: minReplicas }),
      {
        body,
        headers: { "content-type": "application/octet-stream", "x-transfer-label": label },
        signal,
      },
      (response) => api.json<Stored>(response, "hash"),
    );
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NodeGone && sent > 0) throw await brokenOff(api, sent, error);
    if (error instanceof Refused && ifSeq !== undefined) throw overtaken(error, ifSeq);
    throw error;
  } finally {
    clearInterval(poll);
    bar.clear();
  }
}

async function showStored(api: Api, label: string, bar: ProgressBar): Promise<void> {
  try {
    const { transfers } = await api.get<Transfers>("/network/transfers", "transfers");
    const mine = transfers.find((transfer) => transfer.label === label);
    if (mine !== undefined) bar.set(mine.done_bytes);
  } catch {
    // The store itself tells what is wrong.
  }
}

/** Why a store with --if-seq was refused, in the words of the command line. */
function overtaken(error: Refused, ifSeq: number): UserError {
  const { status, members: { seq } } = error;
  if (typeof seq !== "number") return error;
  if (status === 409) {
    return new UserError(
      `another version was stored at the same moment, and won: it is ${seq}. Read that, and use ` +
        `--if-seq ${seq} to change it`,
    );
  }
  if (status !== 412) return error;
  return new UserError(
    seq === 0
      ? `there is nothing under this key yet, so no version ${ifSeq}: --if-seq 0 stores the first`
      : ifSeq === 0
      ? `there is a value under this key already, version ${seq}: read that, and use ` +
        `--if-seq ${seq} to change it`
      : `the newest version under this key is ${seq}, not ${ifSeq}: read that, and use ` +
        `--if-seq ${seq} to change it`,
  );
}

/** Why a node takes no more of a value: its answer is lost where it closes before all of it was sent. */
async function brokenOff(api: Api, sent: number, cause: NodeGone): Promise<UserError> {
  const { config } = await api.get<Stats>("/network/stats", "config");
  const limit = config.max_value_size;
  const message = sent > limit
    ? `the value is over the ${limit} bytes that this node takes (MAX_VALUE_SIZE)`
    : `the connection broke after ${bytes(sent)} (${reason(cause.cause)}): try again`;
  return new UserError(message, false, { cause });
}

/** Fetches a value to standard output or a file. */
export async function get(hash: string | undefined, flags: GetFlags): Promise<void> {
  const api = new Api(flags), { output, json } = flags;
  const named = await hashOf(api, hash, flags);
  await namingTheKey(flags, () =>
    interruptible(async (signal) => {
      if (!json) {
        await fetchValue(api, named, flags, signal, () => outputFor(output));
      } else if (output !== undefined) {
        const value = await fetchValue(api, named, flags, signal, () => openOutput(output));
        printJson({ hash: named, file: output, ...value });
      } else {
        const memory = memoryOutput();
        const value = await fetchValue(api, named, flags, signal, () => memory);
        printJson({ hash: named, ...value, ...memory.text() });
      }
    }));
}

/** Runs something; where nothing is found, it is told under which key: its hash says nothing to a user. */
async function namingTheKey<T>(
  { key, publicKey }: ValueFlags,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404 || key === undefined) throw error;
    const whose = publicKey === undefined
      ? "of this node's own (--public-key names another's)"
      : `of ${publicKey}`;
    throw new UserError(`the key ${JSON.stringify(key)} ${whose}: ${error.message}`);
  }
}

async function outputFor(output: string | undefined): Promise<Output> {
  if (output !== undefined) return await openOutput(output);
  return stdout.isTerminal ? terminalOutput() : standardOutput();
}

/** What is known of a value that was fetched, as `--json` tells it. */
interface Fetched {
  readonly size: number;
  readonly content_type: string;
  readonly seq: number | null;
  readonly public_key: string | null;
}

/** Fetches a value to an output that is opened once there is one. */
async function fetchValue(
  api: Api,
  hash: string,
  { key, json, output }: GetFlags,
  signal: AbortSignal,
  open: () => Output | Promise<Output>,
): Promise<Fetched> {
  return await api.request(
    "GET",
    api.at(`/data/${hash}`, { key }),
    { signal },
    async (response) => {
      const { headers } = response;
      const length = headers.get("content-length");
      const bar = new ProgressBar("bytes", !json && (output !== undefined || !stdout.isTerminal));
      bar.phase("Fetching", length === null ? null : Number(length));
      const contentType = headers.get("content-type") ?? "";
      const target = await open();
      let size = 0;
      try {
        target.begin?.(contentType);
        for await (const piece of receive(response, signal)) {
          await target.write(piece);
          size += piece.length;
          bar.set(size);
        }
        await target.finish();
      } catch (error) {
        await target.discard();
        throw error;
      } finally {
        bar.clear();
      }
      const seq = headers.get("x-seq");
      return {
        size,
        content_type: contentType,
        seq: seq === null ? null : Number(seq),
        public_key: headers.get("x-public-key"),
      };
    },
  );
}

/** A body's bytes; what breaks it off is one line for the user. */
async function* receive(response: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* response.body ?? [];
  } catch (error) {
    signal.throwIfAborted();
    throw new NodeGone(
      `the node broke off: it could not fetch all of the value, or its parts are not what they ` +
        `should be; its log says more (${reason(error)})`,
      false,
      { cause: error },
    );
  }
}

/** Prints a line for each version of a value, until Ctrl-C. */
export async function follow(hash: string | undefined, flags: GetFlags): Promise<void> {
  const api = new Api(flags);
  const named = await hashOf(api, hash, flags);
  let last: Version | undefined;
  const shown = async (version: Version, signal: AbortSignal) => {
    if (version.seq === last?.seq && version.hash === last.hash) return;
    last = version;
    const { output } = flags;
    if (output !== undefined) {
      await fetchValue(api, named, { ...flags, json: true }, signal, () => openOutput(output));
    }
    if (flags.json) return print(JSON.stringify(version));
    print(`${version.at}  version ${version.seq ?? "-"}  ${bytes(version.size)}`);
  };
  try {
    await interruptible((signal) =>
      keepConnected(signal, {
        run: (signal, opened) => {
          const headers: Record<string, string> = { accept: "text/event-stream" };
          if (typeof last?.seq === "number") headers["last-event-id"] = `${last.seq}`;
          const url = api.at(`/data/${named}`, { key: flags.key });
          return api.request("GET", url, { headers, signal }, async (response) => {
            opened();
            for await (const version of valueEvents(response)) await shown(version, signal);
          });
        },
        lost: (why) => stderr.write(`dmnode: the connection was lost (${why}); trying again\n`),
        regained: () => stderr.write("dmnode: connected again\n"),
      })
    );
  } catch (error) {
    // Its regular end.
    if (!(error instanceof Interrupted)) throw error;
  }
}

/** The data of the `value` events of a stream (HTML, section 9.2). */
async function* valueEvents(response: Response): AsyncGenerator<Version> {
  let rest = "";
  try {
    for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
      }
    }
  } catch (error) {
    if (error instanceof UserError || error instanceof OutputClosed) throw error;
    throw new NodeGone(reason(error), false, { cause: error });
  }
}

/** Ends the republishing of a value. */
export async function forget(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags);
  const named = await hashOf(api, hash, flags);
  await api.request("DELETE", api.at(`/data/${named}`), {}, () => Promise.resolve());
  if (flags.json) printJson({ hash: named, forgotten: true });
}

/** Prints the values that the node keeps published. */
export async function published(
  { limit, offset, ...flags }: ApiFlags & { limit?: number; offset?: number },
): Promise<void> {
  const list = await publishedPage(new Api(flags), { limit, offset });
  if (flags.json) return printJson(list);
  const now = Date.now();
  printTable(
    [
      { head: "HASH", shrinks: "id" },
      { head: "KIND" },
      { head: "KEY", shrinks: "text" },
      { head: "VERSION", align: "right" },
      { head: "SIZE", align: "right" },
      { head: "COPIES", align: "right" },
      { head: "LAST", align: "right" },
      { head: "NEXT", align: "right" },
    ],
    list.published.map((value) => [
      value.hash,
      value.kind,
      value.key === null ? "-" : printable(value.key),
      `${value.seq ?? "-"}`,
      value.size === null ? "-" : bytes(value.size),
      value.failures > 0 ? [`${value.replicas}`, "yellow"] : `${value.replicas}`,
      value.last_at === null ? "never" : ago(value.last_at, now),
      ahead(value.next_at, now),
    ]),
  );
  print(`${list.published.length} of ${counted(list.total, "value")}`);
}

async function publishedPage(
  api: Api,
  query: { readonly limit?: number; readonly offset?: number },
): Promise<Published> {
  return await api.get<Published>("/network/published", "published", query);
}

/** Prints who holds a value. */
export async function stat(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags);
  const named = await hashOf(api, hash, flags);
  const query = { key: flags.key, replicas: 1 };
  const report = await namingTheKey(flags, () =>
    interruptible((signal) =>
      api.request(
        "GET",
        api.at(`/data/${named}`, query),
        { signal },
        (response) => api.json<Replicas>(response, "holders"),
      )
    ));
  if (flags.json) return printJson(report);
  const { kind, seq, holders, count, wanted, parts } = report;
  printTable(
    [
      { head: "NODE", shrinks: "id" },
      { head: "ADDRESS" },
      { head: "VERSION", align: "right" },
      { head: "AGE", align: "right" },
    ],
    holders.map((holder) => [
      holder.node_id,
      holder.address ?? "this node",
      `${holder.seq ?? "-"}`,
      holder.age_s === null ? "-" : duration(holder.age_s),
    ]),
  );
  const version = seq === null ? "" : `, version ${seq}`;
  const are = wanted === 1 ? "is" : "are";
  print(`${kind}${version}: ${counted(count, "copy", "copies")}, ${wanted} ${are} wanted`);
  if (parts === null) return;
  printPairs([
    [
      "its items",
      `at least ${counted(parts.least, "copy", "copies")}, ${
        parts.mean.toFixed(1)
      } on average, of ` +
      `${parts.manifests_counted} of ${counted(parts.manifests, "manifest")} and ` +
      `${parts.chunks_counted} of ${counted(parts.chunks, "chunk")}`,
    ],
  ]);
}

function standardInput(): { stream: ReadableStream<Uint8Array<ArrayBuffer>>; size: null } {
  if (Deno.stdin.isTerminal() && stderr.isTerminal) {
    stderr.write("Type the value; Ctrl-D on a line of its own ends it.\n");
  }
  return { stream: Deno.stdin.readable, size: null };
}

async function openFile(
  path: string,
): Promise<{ stream: ReadableStream<Uint8Array<ArrayBuffer>>; size: number | null }> {
  try {
    const { isDirectory, isFile, size } = await Deno.stat(path);
    if (isDirectory) throw new Error("it is a directory");
    return { stream: (await Deno.open(path)).readable, size: isFile ? size : null };
  } catch (error) {
    throw new UserError(`${path} can't be read: ${reason(error)}`, false, { cause: error });
  }
}

/** The hash that is meant: given, or that of a key of this node or of whoever has the public key. */
async function hashOf(
  api: Api,
  hash: string | undefined,
  { key, publicKey }: ValueFlags,
): Promise<string> {
  if (hash !== undefined) {
    if (publicKey === undefined) return await wholeId(hash, publishedHashes(api));
    throw new UserError("--public-key goes with --key alone: the hash says whose it is", true);
  }
  if (key === undefined) throw new UserError("it takes a hash, or --key", true);
  if (publicKey !== undefined && !/^[0-9a-fA-F]{64}$/.test(publicKey)) {
    throw new UserError(
      `${JSON.stringify(publicKey)} is no public key: it takes 64 hex digits`,
      true,
    );
  }
  const owner = publicKey ?? (await api.get<Stats>("/network/stats", "public_key")).public_key;
  // BEP 44: the target of a mutable item is the SHA-1 of public key and salt.
  const salt = new TextEncoder().encode(key), named = new Uint8Array(32 + salt.length);
  for (let i = 0; i < 32; i++) named[i] = parseInt(owner.slice(2 * i, 2 * i + 2), 16);
  named.set(salt, 32);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", named));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function publishedHashes(api: Api): Known {
  return {
    what: "hash of a published value",
    async *ids() {
      for (let offset = 0;; offset += PAGE) {
        const { published } = await publishedPage(api, { limit: PAGE, offset });
        for (const { hash } of published) yield hash;
        if (published.length < PAGE) return;
      }
    },
  };
}
