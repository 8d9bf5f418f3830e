// The commands that talk to a running node through its API.

import { parse as parseDotenv } from "dotenv";
import { readEnvFile } from "./env_file.ts";
import { UserError } from "./errors.ts";
import { openOutput, standardOutput } from "./output.ts";
import { ProgressBar } from "./progress.ts";

interface ApiFlags {
  readonly api?: string;
  readonly json?: boolean;
}

/** How often a store asks how far the network has taken what it sent. */
const POLL_MS = 250;

/** Stores a file or standard input; prints the hash. */
export async function put(file: string, flags: ApiFlags & { key?: string }): Promise<void> {
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
    const query = flags.key === undefined ? "" : `?${new URLSearchParams({ key: flags.key })}`;
    const response = await call(flags, "POST", `/network/store${query}`, {
      stream: counted,
      label,
      sent: () => sent,
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
  hash: string,
  flags: ApiFlags & { output?: string; key?: string },
): Promise<void> {
  const query = flags.key === undefined ? "" : `?${new URLSearchParams({ key: flags.key })}`;
  const response = await call(flags, "GET", `/data/${checkId(hash)}${query}`);
  const length = response.headers.get("content-length");
  const isVisible = flags.output === undefined && Deno.stdout.isTerminal();
  const bar = new ProgressBar(
    "Fetching",
    length === null ? null : Number(length),
    !flags.json && !isVisible,
  );
  const { output } = flags;
  const target = output === undefined ? standardOutput() : await openOutput(output);
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
  if (output !== undefined && flags.json) printJson({ hash, file: output, size });
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
  console.log(`${pong.node_id} at ${pong.address}: ${ms(pong.rtt_ms)}, ${pong.health}`);
}

/** Prints the routing table's contacts. */
export async function peers(
  flags: ApiFlags & { health?: string; sort?: string; limit?: string },
): Promise<void> {
  const { health, sort, limit } = flags;
  const given = Object.entries({ health, sort, limit }).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given as [string, string][]);
  const list = await (await call(flags, "GET", `/network/peers?${query}`)).json();
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

/** Calls the API; turns every failure into one line for the user. */
async function call(
  flags: ApiFlags,
  method: string,
  path: string,
  body?: StreamedBody,
): Promise<Response> {
  const file = parseDotenv(readEnvFile(undefined) ?? "");
  const setting = (name: string) => Deno.env.get(name) || file[name] || undefined;
  const api = (flags.api ?? setting("DMNODE_API") ?? "http://127.0.0.1:8080").replace(/\/+$/, "");
  const headers = new Headers();
  const token = setting("API_TOKEN");
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  if (body !== undefined) {
    headers.set("content-type", "application/octet-stream");
    headers.set("x-transfer-label", body.label);
  }
  let response: Response;
  try {
    response = await fetch(`${api}${path}`, { method, headers, body: body?.stream });
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

function checkId(id: string): string {
  if (/^[0-9a-fA-F]{40}$/.test(id)) return id.toLowerCase();
  throw new UserError(`${JSON.stringify(id)} is not an id: it takes 40 hex digits`, true);
}

function reason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}

function ms(value: number): string {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}

function printJson(value: unknown): void {
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
