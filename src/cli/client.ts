// The commands that talk to a running node through its API.

import { parse as parseDotenv } from "dotenv";
import { readEnvFile } from "./env_file.ts";
import { UserError } from "./errors.ts";

interface ApiFlags {
  readonly api?: string;
  readonly json?: boolean;
}

/** Stores a file or standard input; prints the hash. */
export async function put(file: string, flags: ApiFlags & { key?: string }): Promise<void> {
  const body = file === "-"
    ? await new Response(Deno.stdin.readable).bytes()
    : await readFile(file);
  const query = flags.key === undefined ? "" : `?${new URLSearchParams({ key: flags.key })}`;
  const response = await call(flags, "POST", `/network/store${query}`, body);
  const stored = await response.json();
  if (flags.json) return printJson(stored);
  console.log(stored.hash);
  if (Deno.stderr.isTerminal()) {
    console.error(
      `${stored.kind}, ${stored.size} bytes on ${stored.replicas} nodes in ${
        ms(stored.elapsed_ms)
      }`,
    );
  }
}

/** Fetches a value to standard output or a file. */
export async function get(
  hash: string,
  flags: ApiFlags & { output?: string; key?: string },
): Promise<void> {
  const query = flags.key === undefined ? "" : `?${new URLSearchParams({ key: flags.key })}`;
  const response = await call(flags, "GET", `/data/${checkId(hash)}${query}`);
  const bytes = await response.bytes();
  if (flags.output !== undefined) {
    try {
      await Deno.writeFile(flags.output, bytes);
    } catch (error) {
      throw new UserError(`${flags.output} can't be written: ${reason(error)}`);
    }
    if (flags.json) printJson({ hash, file: flags.output, size: bytes.length });
    return;
  }
  const writer = Deno.stdout.writable.getWriter();
  await writer.write(bytes);
  writer.releaseLock();
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

/** Calls the API; turns every failure into one line for the user. */
async function call(
  flags: ApiFlags,
  method: string,
  path: string,
  body?: Uint8Array<ArrayBuffer>,
): Promise<Response> {
  const file = parseDotenv(readEnvFile(undefined) ?? "");
  const setting = (name: string) => Deno.env.get(name) || file[name] || undefined;
  const api = (flags.api ?? setting("DMNODE_API") ?? "http://127.0.0.1:8080").replace(/\/+$/, "");
  const headers = new Headers();
  const token = setting("API_TOKEN");
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  if (body !== undefined) headers.set("content-type", "application/octet-stream");
  let response: Response;
  try {
    response = await fetch(`${api}${path}`, { method, headers, body });
  } catch (error) {
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

async function readFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    throw new UserError(`${path} can't be read: ${reason(error)}`);
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
