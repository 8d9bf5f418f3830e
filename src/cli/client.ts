// The commands that talk to a running node through its API.

import { parse as parseDotenv } from "dotenv";
import { readEnvFile, readTokenFile } from "./env_file.ts";
import { UserError } from "./errors.ts";
import { openOutput, standardOutput } from "./output.ts";
import { ProgressBar } from "./progress.ts";

/** How the API is named and its answers are shown. */
export interface ApiFlags {
  readonly api?: string;
  readonly json?: boolean;
}

/** How a value is named on the command line: by its hash, or by its key and whose it is. */
interface ValueFlags extends ApiFlags {
  readonly key?: string;
  readonly publicKey?: string;
}

interface PutFlags extends ApiFlags {
  readonly key?: string;
  readonly ifSeq?: string;
  readonly minReplicas?: string;
}

/** How often a store asks how far the network has taken what it sent. */
const POLL_MS = 250;

/** Stores a file or standard input; prints the hash. */
export async function put(file: string, flags: PutFlags): Promise<void> {
  if (flags.ifSeq !== undefined && flags.key === undefined) {
    throw new UserError("--if-seq takes a --key: other values have no versions", true);
  }
  const { stream, size } = file === "-"
    ? { stream: Deno.stdin.readable, size: null }
    : await openFile(file);
  const bar = new ProgressBar("Storing", size, !flags.json);
  const label = crypto.randomUUID();
  let sent = 0;
  const counted = stream.pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(bytes, controller) {
        sent += bytes.length;
        controller.enqueue(bytes);
      },
    }),
  );
  // What is sent is not stored yet: megabytes of it wait in the system's buffers.
  const poll = bar.isShown ? setInterval(() => showStored(flags, label, bar), POLL_MS) : undefined;
  try {
    const query = queryOf({ key: flags.key, cas: flags.ifSeq, min_replicas: flags.minReplicas });
    const response = await call(flags, "POST", `/network/store${query}`, {
      body: { stream: counted, label, sent: () => sent },
    });
    const stored = await response.json();
    bar.clear();
    if (flags.json) return printJson(stored);
    console.log(stored.hash);
    if (Deno.stderr.isTerminal()) {
      const { kind, size, replicas, elapsed_ms } = stored;
      console.error(`${kind}, ${size} bytes on ${replicas} nodes in ${ms(elapsed_ms)}`);
    }
  } finally {
    clearInterval(poll);
    bar.clear();
  }
}

async function showStored(flags: ApiFlags, label: string, bar: ProgressBar): Promise<void> {
  try {
    const { transfers } = await (await call(flags, "GET", "/network/transfers")).json();
    const mine = transfers.find((transfer: { label: unknown }) => transfer.label === label);
    if (mine !== undefined) bar.set(mine.done_bytes);
  } catch {
    // The store itself tells what is wrong.
  }
}

/** Fetches a value to standard output or a file. */
export async function get(
  hash: string | undefined,
  flags: ValueFlags & { output?: string },
): Promise<void> {
  const named = await hashOf(hash, flags);
  const size = await fetchValue(named, flags);
  if (flags.output !== undefined && flags.json) {
    printJson({ hash: named, file: flags.output, size });
  }
}

/** Fetches a value to where `flags` say; resolves to its size. */
async function fetchValue(
  hash: string,
  flags: ValueFlags & { output?: string },
  interruptedStatus?: number,
): Promise<number> {
  const response = await call(flags, "GET", `/data/${hash}${queryOf({ key: flags.key })}`);
  const length = response.headers.get("content-length");
  const isVisible = flags.output === undefined && Deno.stdout.isTerminal();
  const bar = new ProgressBar(
    "Fetching",
    length === null ? null : Number(length),
    !flags.json && !isVisible,
  );
  const { output } = flags;
  const target = output === undefined
    ? standardOutput()
    : await openOutput(output, interruptedStatus);
  let size = 0;
  try {
    for await (const bytes of receive(response)) {
      await target.write(bytes);
      size += bytes.length;
      bar.set(size);
    }
    await target.finish();
  } catch (error) {
    await target.discard();
    throw error;
  } finally {
    bar.clear();
  }
  return size;
}

/** Ends the republishing of a value. */
export async function forget(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const named = await hashOf(hash, flags);
  await call(flags, "DELETE", `/data/${named}`);
  if (flags.json) printJson({ hash: named, forgotten: true });
}

/** Prints the values that the node keeps published. */
export async function published(
  flags: ApiFlags & { limit?: string; offset?: string },
): Promise<void> {
  const { limit, offset } = flags;
  const list = await (await call(flags, "GET", `/network/published${queryOf({ limit, offset })}`))
    .json();
  if (flags.json) return printJson(list);
  printTable(
    ["HASH", "KIND", "KEY", "SIZE", "REPLICAS", "NEXT"],
    list.published.map((p: Record<string, unknown>) => [
      p.hash,
      p.kind,
      p.key === null ? "-" : printable(p.key as string),
      p.size ?? "-",
      p.replicas,
      p.next_at,
    ]),
  );
  console.log(`${list.published.length} of ${list.total} values`);
}

/** Prints who holds a value. */
export async function stat(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const named = await hashOf(hash, flags);
  const query = queryOf({ key: flags.key, replicas: "1" });
  const report = await (await call(flags, "GET", `/data/${named}${query}`)).json();
  if (flags.json) return printJson(report);
  const { kind, seq, holders, count, wanted, parts } = report;
  printTable(
    ["NODE", "ADDRESS", "SEQ", "AGE"],
    holders.map((holder: Record<string, unknown>) => [
      holder.node_id,
      holder.address ?? "this node",
      holder.seq ?? "-",
      holder.age_s === null ? "-" : age(holder.age_s as number),
    ]),
  );
  const version = seq === null ? "" : `, seq ${seq}`;
  console.log(`${kind}${version}: ${count} copies, ${wanted} are wanted`);
  if (parts !== null) {
    console.log(
      `its items: at least ${parts.least} copies, ${parts.mean.toFixed(1)} on average, of ` +
        `${parts.manifests_counted} of ${parts.manifests} manifests and ` +
        `${parts.chunks_counted} of ${parts.chunks} chunks`,
    );
  }
}

/** Prints a line for each version of a value, until Ctrl-C. */
export async function follow(
  hash: string | undefined,
  flags: ValueFlags & { output?: string },
): Promise<void> {
  const named = await hashOf(hash, flags);
  const controller = new AbortController();
  const stop = () => controller.abort();
  Deno.addSignalListener("SIGINT", stop);
  try {
    const response = await call(flags, "GET", `/data/${named}${queryOf({ key: flags.key })}`, {
      headers: { accept: "text/event-stream" },
      signal: controller.signal,
    });
    for await (const version of valueEvents(response)) {
      if (flags.output !== undefined) await fetchValue(named, { ...flags, json: true }, 0);
      if (flags.json) console.log(JSON.stringify(version));
      else console.log(`${version.at}  seq ${version.seq ?? "-"}  ${version.size} bytes`);
    }
  } catch (error) {
    if (controller.signal.aborted) return;
    if (error instanceof UserError) throw error;
    throw new UserError(`the connection broke: ${reason(error)}`, false, { cause: error });
  } finally {
    Deno.removeSignalListener("SIGINT", stop);
  }
  throw new UserError("the node ended the stream: is it stopping?");
}

interface FollowedVersion {
  readonly hash: string;
  readonly seq: number | null;
  readonly size: number;
  readonly at: string;
}

/** The data of the `value` events of a stream. */
async function* valueEvents(response: Response): AsyncGenerator<FollowedVersion> {
  let rest = "";
  for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
    }
  }
}

/** Prints the nodes closest to an id. */
export async function find(id: string, flags: ApiFlags): Promise<void> {
  const found = await (await call(flags, "GET", `/network/find/${checkId(id)}`)).json();
  if (flags.json) return printJson(found);
  printTable(
    ["NODE", "ADDRESS", "DISTANCE"],
    found.nodes.map((n: Record<string, unknown>) => [n.node_id, n.address, n.distance]),
  );
  console.log(
    `${
      found.found ? "found" : "no node has this very id"
    }; ${found.hops} hops, ${found.queries} queries, ` +
      ms(found.elapsed_ms),
  );
}

/** Prints a node's round-trip time. */
export async function ping(id: string, flags: ApiFlags): Promise<void> {
  const pong = await (await call(flags, "GET", `/network/ping/${checkId(id)}`)).json();
  if (flags.json) return printJson(pong);
  const way = pong.via === "direct" ? "" : `, ${pong.via}`;
  console.log(`${pong.node_id} at ${pong.address}: ${ms(pong.rtt_ms)}, ${pong.health}${way}`);
}

/** Prints the routing table's contacts, or all that is known of one of them. */
export async function peers(
  id: string | undefined,
  flags: ApiFlags & { health?: string; sort?: string; limit?: string },
): Promise<void> {
  const { health, sort, limit } = flags;
  if (id !== undefined) {
    if ((health ?? sort ?? limit) !== undefined) {
      throw new UserError("--health, --sort and --limit are for the list, not for one peer", true);
    }
    return await peer(checkId(id), flags);
  }
  const list = await (await call(flags, "GET", `/network/peers${queryOf({ health, sort, limit })}`))
    .json();
  if (flags.json) return printJson(list);
  printTable(
    ["NODE", "ADDRESS", "HEALTH", "RTT", "SCORE", "CLIENT"],
    list.peers.map((p: Record<string, unknown>) => [
      p.node_id,
      p.address,
      p.health,
      p.rtt_ms === null ? "-" : ms(p.rtt_ms as number),
      (p.score as number).toFixed(2),
      p.client ?? "-",
    ]),
  );
  console.log(`${list.peers.length} of ${list.routing_table_size} contacts`);
}

async function peer(id: string, flags: ApiFlags): Promise<void> {
  const peer = await (await call(flags, "GET", `/network/peers/${id}`)).json();
  if (flags.json) return printJson(peer);
  const { score_parts: parts } = peer;
  const part = (name: string) => `${name} ${parts[name].toFixed(2)}`;
  const rtt = peer.rtt_ms === null
    ? "not measured"
    : `${ms(peer.rtt_ms)}, give or take ${ms(peer.rtt_variation_ms)}`;
  const keeps = peer.keeps_us === null ? "does not say" : peer.keeps_us ? "yes" : "no";
  printTable([], [
    ["node", peer.node_id],
    ["address", peer.address],
    ["client", peer.client ?? "does not say"],
    ["health", `${peer.health}, ${peer.misses} misses in a row`],
    ["score", `${peer.score.toFixed(2)} = ${Object.keys(parts).map(part).join(" × ")}`],
    ["round trip", rtt],
    ["faults", peer.faults.toFixed(2)],
    ["keeps us", keeps],
    ["distance", `${peer.distance} bits, bucket ${peer.bucket ?? "-"}`],
    ["first seen", peer.first_seen],
    ["last seen", peer.last_seen],
    ["last answer", peer.last_response ?? "never"],
    ["last query", peer.last_query ?? "never"],
    ["next check", peer.next_check ?? "-"],
  ]);
  for (const { at, what, reason } of peer.history) {
    console.log(`${at}  ${what}${reason === null ? "" : `: ${reason}`}`);
  }
}

/** Prints what the node counts. */
export async function stats(flags: ApiFlags): Promise<void> {
  const all = await (await call(flags, "GET", "/network/stats")).json();
  if (flags.json) return printJson(all);
  printTable([], flatten(all));
}

/** A body that is sent as it is read. */
interface StreamedBody {
  readonly stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly label: string;
  /** Bytes that were read of it so far. */
  readonly sent: () => number;
}

interface CallOptions {
  readonly body?: StreamedBody;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** The API's URL, and the token that it may ask for. */
export function apiOf({ api }: ApiFlags): { api: string; token: string | undefined } {
  const file = parseDotenv(readEnvFile(undefined) ?? "");
  const setting = (name: string) => Deno.env.get(name) || file[name] || undefined;
  const url = (api ?? setting("DMNODE_API") ?? "http://127.0.0.1:8080").replace(/\/+$/, "");
  const tokenFile = setting("API_TOKEN_FILE");
  const token = setting("API_TOKEN") ?? (tokenFile && readTokenFile(tokenFile));
  return { api: url, token: token || undefined };
}

/** Calls the API; turns every failure into one line for the user. */
export async function call(
  flags: ApiFlags,
  method: string,
  path: string,
  { body, headers: more, signal }: CallOptions = {},
): Promise<Response> {
  const { api, token } = apiOf(flags);
  const headers = new Headers(more);
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  if (body !== undefined) {
    headers.set("content-type", "application/octet-stream");
    headers.set("x-transfer-label", body.label);
  }
  let response: Response;
  try {
    response = await fetch(`${api}${path}`, { method, headers, body: body?.stream, signal });
  } catch (error) {
    if (body !== undefined && body.sent() > 0) throw await brokenOff(flags, body.sent(), error);
    throw new UserError(
      `no node answers at ${api} (${
        reason(error)
      }): is it running? Start one with dmnode, or name another with --api`,
      false,
      { cause: error },
    );
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => undefined);
  const detail = problem?.detail ?? problem?.title ?? response.statusText;
  throw new UserError(`${detail} (HTTP ${response.status})`);
}

/** Why a node takes no more of a value: its answer is lost where it closes before all of it was sent. */
async function brokenOff(flags: ApiFlags, sent: number, cause: unknown): Promise<UserError> {
  const { config } = await (await call(flags, "GET", "/network/stats")).json();
  const limit = config.max_value_size;
  const message = sent > limit
    ? `the value is over the ${limit} bytes that this node takes (MAX_VALUE_SIZE)`
    : `the connection broke after ${sent} bytes (${reason(cause)}): try again`;
  return new UserError(message, false, { cause });
}

/** A body's bytes; what breaks it off is one line for the user. */
async function* receive(response: Response): AsyncGenerator<Uint8Array> {
  try {
    yield* response.body ?? [];
  } catch (error) {
    throw new UserError(
      `the node broke off: it could not fetch all of the value, or its parts are not what they ` +
        `should be; its log says more (${reason(error)})`,
      false,
      { cause: error },
    );
  }
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
async function hashOf(hash: string | undefined, flags: ValueFlags): Promise<string> {
  const { key, publicKey } = flags;
  if (hash !== undefined) {
    if (publicKey === undefined) return checkId(hash);
    throw new UserError("--public-key goes with --key alone: the hash says whose it is", true);
  }
  if (key === undefined) throw new UserError("it takes a hash, or --key", true);
  if (publicKey !== undefined && !/^[0-9a-fA-F]{64}$/.test(publicKey)) {
    throw new UserError(
      `${JSON.stringify(publicKey)} is no public key: it takes 64 hex digits`,
      true,
    );
  }
  const owner = publicKey ?? (await (await call(flags, "GET", "/network/stats")).json()).public_key;
  const salt = new TextEncoder().encode(key), bytes = new Uint8Array(32 + salt.length);
  for (let i = 0; i < 32; i++) bytes[i] = parseInt(owner.slice(2 * i, 2 * i + 2), 16);
  bytes.set(salt, 32);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The query of what is given; empty where nothing is. */
function queryOf(parameters: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given as [string, string][])}`;
}

/** A key as one cell: whoever chose it may have put in what moves a terminal's cursor. */
function printable(key: string): string {
  return key.replace(/\p{C}/gu, "?");
}

function checkId(id: string): string {
  if (/^[0-9a-fA-F]{40}$/.test(id)) return id.toLowerCase();
  throw new UserError(`${JSON.stringify(id)} is not an id: it takes 40 hex digits`, true);
}

function reason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}

/** A duration for people. */
export function ms(value: number): string {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}

/** A long duration for people. */
export function age(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** As `--json` prints it. */
export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

/** Columns as wide as their widest cell. */
function printTable(head: string[], rows: unknown[][]): void {
  const lines = [...(head.length > 0 ? [head] : []), ...rows.map((row) => row.map(String))];
  const widths = lines.reduce<number[]>(
    (max, line) => line.map((cell, i) => Math.max(max[i] ?? 0, cell.length)),
    [],
  );
  for (const line of lines) {
    console.log(line.map((cell, i) => cell.padEnd(widths[i])).join("  ").trimEnd());
  }
}

/** An object's leaves as `path value` rows. */
function flatten(value: unknown, path = ""): [string, unknown][] {
  if (value === null || typeof value !== "object") return [[path, value ?? "-"]];
  return Object.entries(value).flatMap(([key, inner]) =>
    flatten(inner, path === "" ? key : `${path}.${key}`)
  );
}
