// `dmnode doctor`: what of this machine, its settings and its running node is as it should be, and what to do if not.
// Its packets stay on loopback, but for the requests to the API that it is told of.

import { statfsSync } from "node:fs";
import { COMMIT } from "../commit.ts";
import {
  type Config,
  ConfigError,
  describeScope,
  loadConfig,
  type NetScope,
  parseAllowNet,
} from "../config.ts";
import { isLoopbackHost } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { files } from "../runtime/files.ts";
import { databasePath, readIdentity } from "../runtime/identity.ts";
import { MessageBatch } from "../runtime/message_batch.ts";
import { NetFilter } from "../runtime/net_scope.ts";
import { BindError, UdpSocket } from "../runtime/udp.ts";
import { peek } from "../storage/peek.ts";
import { VERSION } from "../version.ts";
import { Api, type ApiFlags, DOCTOR_TIMEOUT_S } from "./api_client.ts";
import { reason, UserError } from "./errors.ts";
import { readConfig, type StartFlags } from "./start.ts";
import { widthOf, wrapped } from "./table.ts";
import { print, printable, printJson, stdout, type Style } from "./terminal.ts";
import { bytes, counted, duration, milliseconds } from "./units.ts";

/** `unknown`: it can't be known from here, or not yet. */
export type Verdict = "ok" | "warn" | "fail" | "unknown";

/** What one check found. */
export interface Finding {
  readonly check: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What to do; null where there is nothing. */
  readonly advice: string | null;
}

/** The settings that are checked: those of the running node, else those given here. */
export interface Settings {
  readonly p2pHost: string;
  readonly p2pPort: number;
  readonly bootstrapNodes: readonly string[];
  readonly scope: NetScope;
}

/** What is read of a running node's statistics. */
export interface NodeStats {
  readonly version: string;
  readonly node_id: string;
  readonly started_at: string;
  readonly uptime_s: number;
  readonly addresses: readonly string[];
  /** Older nodes lack it. */
  readonly readiness?: {
    readonly ready: boolean;
    readonly reason: string;
    readonly queries: number;
    readonly answers: number;
    readonly over_s: number;
  };
  readonly peers: Readonly<Record<"healthy" | "degraded" | "unhealthy", number>>;
  readonly network_size_estimate: number | null;
  readonly traffic: { readonly dropped: Readonly<Record<string, number>> };
  readonly lookups: {
    readonly count: number;
    readonly success: number;
    readonly hops_mean: number | null;
    readonly latency_ms: { readonly p50: number | null; readonly p95: number | null };
  };
  readonly storage: { readonly bytes: number; readonly limit_bytes: number };
  readonly nat: {
    readonly external_address: string | null;
    readonly votes: number;
    readonly reachable?: boolean | null;
    /** Nodes that introduce others to it; older nodes lack this and what follows. */
    readonly introducers?: number;
    /** By address family. */
    readonly families?: readonly NatStats[];
    /** Null where no router is asked; older nodes lack it. */
    readonly mapping?: MappingStats | null;
    /** The same for IPv6. */
    readonly pinhole?: MappingStats | null;
  };
  readonly config: {
    readonly p2p_host: string;
    readonly p2p_port: number;
    readonly bootstrap_nodes: readonly string[];
    readonly allow_net: boolean | readonly string[];
    readonly data_dir: string;
  };
}

/** What is read of one address family. */
export interface NatStats {
  readonly family: number;
  readonly external_address: string | null;
  readonly type: string;
  readonly reachable: boolean | null;
  readonly evidence: {
    readonly votes: number;
    readonly voters: number;
    readonly reason: string;
  };
}

/** What is read of a mapping. */
export interface MappingStats {
  readonly status: string;
  readonly protocol: string | null;
  readonly gateway: string | null;
  readonly external_address: string | null;
  readonly problem: string | null;
}

/** A datagram to ourselves takes microseconds. */
const LOOPBACK_MS = 1_000;

/** Wall clock and monotonic clock may differ so much: clocks are set by small steps. */
const CLOCK_MS = 5_000;

/** No clock is right that shows a time before the program was written. */
const WRITTEN_AT = Date.UTC(2026, 0, 1);

/** Datagrams sent at once to see how many wait, their size, and how few of them are too few for a burst of answers. */
const BURST = 600, BURST_BYTES = 100, BURST_FEW = 128;

/** Free bytes below which nothing is stored for long. */
const LITTLE_SPACE = 100 * 1024 * 1024;

/** Fewer answers than this share, of at least so many queries, are too few. */
const ANSWERS_FEW = 0.5, QUERIES_ENOUGH = 20;

/** Lookups that are enough to judge, the share that should succeed, and a time that users feel. */
const LOOKUPS_ENOUGH = 5, LOOKUPS_GOOD = 0.9, LOOKUP_SLOW_MS = 2_000;

/** Peers beyond this are far: more than half around the world. */
const FAR_RTT_MS = 300;

/** So many healthy peers are enough for any network. */
const PEERS_ENOUGH = 8;

const ok = (check: string, found: string): Finding => ({
  check,
  verdict: "ok",
  found,
  advice: null,
});
const unknown = (check: string, found: string, advice: string | null = null): Finding => ({
  check,
  verdict: "unknown",
  found,
  advice,
});
const warn = (check: string, found: string, advice: string): Finding => ({
  check,
  verdict: "warn",
  found,
  advice,
});
const fail = (check: string, found: string, advice: string): Finding => ({
  check,
  verdict: "fail",
  found,
  advice,
});

/**
 * Checks, and prints a line for each check.
 *
 * @throws {UserError} where a check failed, after all were printed
 */
export async function doctor(flags: ApiFlags & StartFlags): Promise<void> {
  const { api: _, json, timeout, ...settings } = flags;
  const findings: Finding[] = [];
  const startedAt = { wall: Date.now(), monotonic: performance.now() };
  const api = new Api({ ...flags, timeout: timeout ?? DOCTOR_TIMEOUT_S });
  const answer = isOfAStart(flags)
    ? "not asked: with these options it is a start that is judged; --api asks a node"
    : await askNode(api);
  const node = typeof answer === "string" ? undefined : answer;
  const isLocal = isLoopbackHost(new URL(api.url).hostname);
  const config = readSettings(settings, findings);
  const dataDir = flags.dataDir === undefined && node !== undefined
    ? node.config.data_dir
    : config.dataDir;
  findings.push(program(), permissions(dataDir));
  if (node === undefined || isLocal) {
    findings.push(
      ...dataDirectory({ ...config, dataDir }, node, api.url),
      ...ports(config, node, api.url),
    );
  } else {
    findings.push(unknown("DATA_DIR and ports", `they are on the machine of ${api.url}`));
  }
  findings.push(...addresses(), ...await loopback());
  findings.push(...judgeSettings(node === undefined ? given(config) : inForce(node)));
  findings.push(clock(startedAt, node));
  if (node === undefined) {
    findings.push(unknown("running node", String(answer)));
  } else findings.push(...judgeNode(node, await medianRtt(api)));

  const failed = findings.filter(({ verdict }) => verdict === "fail").length;
  if (json) printJson({ ok: failed === 0, node: node?.node_id ?? null, findings });
  else findings.forEach(printFinding);
  if (failed > 0) throw new UserError(`${failed} of ${counted(findings.length, "check")} failed`);
}

/** Whether settings are given as for a start: whatever node runs by others has nothing to do with them. */
function isOfAStart(
  { api, json: _, timeout: __, envFile: ___, color: ____, ...settings }: ApiFlags & StartFlags,
) {
  return api === undefined && Object.values(settings).some((value) => value !== undefined);
}

const STYLES: Readonly<Record<Verdict, Style>> = {
  ok: "green",
  warn: "yellow",
  fail: "red",
  unknown: "dim",
};

/** Verdicts stand in a column of their own. */
const VERDICT_CELLS = 8;

function printFinding({ check, verdict, found, advice }: Finding): void {
  // What a node reports may come from strangers, such as the addresses that they tell.
  const todo = advice === null ? "" : `. ${advice[0].toUpperCase()}${advice.slice(1)}`;
  const text = printable(`${check}: ${found}${todo}`);
  const width = stdout.columns === null ? Infinity : stdout.columns - VERDICT_CELLS;
  const [first, ...more] = wrapped(text, width);
  const mark = stdout.paint(STYLES[verdict], verdict);
  print(`${mark}${" ".repeat(VERDICT_CELLS - widthOf(verdict))}${first}`);
  for (const line of more) print(" ".repeat(VERDICT_CELLS) + line);
}

/** What the node tells, or why it tells nothing. */
async function askNode(api: Api): Promise<NodeStats | string> {
  try {
    return await api.get<NodeStats>("/network/stats", "node_id");
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

async function medianRtt(api: Api): Promise<number | null> {
  const list = await api.get<PeerList>("/network/peers", "peers").catch(() => ({ peers: [] }));
  const rtts = list.peers.flatMap(({ rtt_ms }) => rtt_ms ?? []).sort((x, y) => x - y);
  return rtts[rtts.length >> 1] ?? null;
}

interface PeerList {
  readonly peers: readonly { readonly rtt_ms: number | null }[];
}

/** Settings as a start would read them; what is wrong with them is a finding, and defaults serve for the rest. */
function readSettings(flags: StartFlags, findings: Finding[]): Config {
  try {
    const config = readConfig(flags);
    for (const warning of config.warnings) {
      findings.push(warn("settings", warning, "correct it, or leave it if it is meant so"));
    }
    if (config.warnings.length === 0) findings.push(ok("settings", "all are valid"));
    return config;
  } catch (error) {
    if (!(error instanceof ConfigError) && !(error instanceof UserError)) throw error;
    findings.push(fail("settings", error.message, "a node does not start with this: correct it"));
    return loadConfig();
  }
}

function given({ p2pHost, p2pPort, bootstrapNodes, allowNet }: Config): Settings {
  const nodes = bootstrapNodes.map(({ host, port }) =>
    host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
  );
  return { p2pHost, p2pPort, bootstrapNodes: nodes, scope: allowNet };
}

function inForce({ config }: NodeStats): Settings {
  const { p2p_host, p2p_port, bootstrap_nodes, allow_net } = config;
  return {
    p2pHost: p2p_host,
    p2pPort: p2p_port,
    bootstrapNodes: bootstrap_nodes,
    scope: parseAllowNet(typeof allow_net === "boolean" ? allow_net : allow_net.join()),
  };
}

// ---- this machine

function program(): Finding {
  const { deno } = Deno.version;
  const found = `dmnode ${VERSION} (${COMMIT}), Deno ${deno}, ${Deno.build.target}`;
  const [major, minor] = deno.split(".").map(Number);
  const isOld = major < 2 || (major === 2 && minor < 4);
  return isOld ? fail("program", found, "use Deno 2.4 or newer") : ok("program", found);
}

const PERMISSIONS = ["net", "read", "write", "env", "run", "ffi", "sys", "import"] as const;

function permissions(dataDir: string): Finding {
  const state = (name: typeof PERMISSIONS[number]) => {
    const descriptor: Deno.PermissionDescriptor = name === "read" || name === "write"
      ? { name, path: dataDir }
      : name === "env"
      ? { name, variable: "DATA_DIR" }
      : { name };
    return Deno.permissions.querySync(descriptor).state;
  };
  const granted: string[] = PERMISSIONS.filter((name) => state(name) === "granted");
  // Granted for that library alone: only for the sake of batches.
  if (!granted.includes("ffi") && MessageBatch.isPermitted) granted.push("ffi (the C library)");
  const found = `it may use ${granted.join(", ")}; a running node gives up all but net`;
  const missing = (["net", "read", "write", "env"] as const).filter((name) =>
    !granted.includes(name)
  );
  return missing.length === 0
    ? ok("permissions", found)
    : fail("permissions", `${missing.join(", ")} not permitted`, "start it as make start does");
}

function dataDirectory(
  { dataDir, storageLimit }: Config,
  node: NodeStats | undefined,
  api: string,
): Finding[] {
  const check = `DATA_DIR ${dataDir}`;
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(dataDir);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      if (node !== undefined) {
        return [
          unknown(
            check,
            "the running node's is not to be seen from here",
            `name both: dmnode doctor --api ${api} --data-dir DIR`,
          ),
        ];
      }
      return [ok(check, "it is not there; the first start makes it")];
    }
    return [fail(check, reason(error), "run this as the node's user, or give another --data-dir")];
  }
  if (!info.isDirectory) return [fail(check, "it is no directory", "give another --data-dir")];
  const findings: Finding[] = [];
  const isOpen = Deno.build.os !== "windows" && ((info.mode ?? 0) & 0o077) !== 0;
  if (isOpen) {
    findings.push(warn(check, "others may look into it", `keep them out: chmod 700 '${dataDir}'`));
  }
  findings.push(writable(check, dataDir), freeSpace(dataDir, storageLimit));
  try {
    const isThere = readIdentity(dataDir) !== undefined;
    findings.push(ok("identity", isThere ? "it can be read" : "the first start makes it"));
  } catch (error) {
    findings.push(fail("identity", reason(error), "see docs/operations.md, Back up"));
  }
  findings.push(database(dataDir, node, api));
  return findings;
}

function writable(check: string, dataDir: string): Finding {
  try {
    const path = Deno.makeTempFileSync({ dir: dataDir, prefix: "doctor-" });
    Deno.removeSync(path);
    return ok(check, "it can be written");
  } catch (error) {
    const advice = "run this as the node's user, or give that user the directory";
    return fail(check, `it can't be written: ${reason(error)}`, advice);
  }
}

function freeSpace(dataDir: string, storageLimit: number): Finding {
  const check = "free space";
  if (Deno.permissions.querySync({ name: "sys", kind: "statfs" }).state !== "granted") {
    return unknown(check, "the program is not permitted to ask", `look with df -h '${dataDir}'`);
  }
  const { bavail, bsize } = statfsSync(dataDir);
  const free = bavail * bsize;
  const found = bytes(free);
  if (free < LITTLE_SPACE) return fail(check, found, "values are refused soon: free some room");
  return free < storageLimit
    ? warn(check, found, `less than STORAGE_LIMIT (${bytes(storageLimit)}): lower that`)
    : ok(check, found);
}

function database(dataDir: string, node: NodeStats | undefined, api: string): Finding {
  const check = "database", path = databasePath(dataDir);
  let size: number | undefined;
  try {
    size = files.size(path);
  } catch (error) {
    return fail(check, reason(error), "run this as the node's user");
  }
  if (size === undefined) return ok(check, "the first start makes it");
  const { nodeId, isInUse, problem } = peek(path, files);
  const text = `${path}, ${bytes(size)}`;
  if (isInUse) {
    return node === undefined
      ? warn(
        check,
        `${text}, is held by a process, which was not asked or does not answer at ${api}`,
        "a running node is asked with --api; or stop it",
      )
      : ok(check, `${text}, is held by the running node`);
  }
  if (nodeId !== undefined) return ok(check, `${text}, can be read; nobody holds it`);
  if (problem !== undefined && !/malformed|not a database|unsupported|schema/i.test(problem)) {
    const isFull = /full|I\/O/i.test(problem);
    const advice = isFull
      ? "free some room, or look at the system's log"
      : "run this as the node's user, or give that user the file and its directory";
    return fail(check, `${text}, can't be opened here: ${problem}`, advice);
  }
  return fail(check, `${text}, can't be read`, "restore a copy, or move it away to start anew");
}

function ports(config: Config, node: NodeStats | undefined, api: string): Finding[] {
  if (node !== undefined) {
    return [
      ok("P2P port", `UDP ${node.addresses.join(", ")} is bound by the running node`),
      ok("API port", `the running node answers at ${api}`),
    ];
  }
  const findings: Finding[] = [];
  const host = config.allowNet.mode === "loopback" ? "127.0.0.1" : config.p2pHost;
  try {
    const socket = UdpSocket.bind({
      host,
      port: config.p2pPort,
      receive: () => {},
      onOverflow: () => {},
    });
    void socket.close();
    findings.push(ok("P2P port", `UDP ${config.p2pPort} is free`));
  } catch (error) {
    if (!(error instanceof BindError)) throw error;
    findings.push(fail("P2P port", error.message, "a node does not start with this"));
  }
  try {
    Deno.listen({ hostname: config.apiHost, port: config.apiPort }).close();
    findings.push(ok("API port", `TCP ${config.apiPort} is free`));
  } catch (error) {
    const found = `TCP ${config.apiHost} ${config.apiPort}: ${reason(error)}`;
    findings.push(fail("API port", found, "stop what has it, or choose another with --api-port"));
  }
  return findings;
}

function addresses(): Finding[] {
  if (Deno.permissions.querySync({ name: "sys", kind: "networkInterfaces" }).state !== "granted") {
    const found = "the program is not permitted to list them";
    return [unknown("network addresses", found, "look with ip address")];
  }
  const list = Deno.networkInterfaces().map(({ address }) => address);
  const outside = list.filter((address) => !isLoopbackHost(address) && !/^fe80/i.test(address));
  return [
    outside.length > 0
      ? ok("network addresses", outside.join(", "))
      : warn("network addresses", "loopback alone", "connect the machine to a network"),
  ];
}

/** Sockets of both families, a datagram's way there and back, and how many of a burst wait for a busy reader. */
async function loopback(): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, hostname] of [["IPv4", "127.0.0.1"], ["IPv6", "::1"]] as const) {
    const check = `UDP over ${name}`;
    let socket: Deno.DatagramConn;
    try {
      socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    } catch (error) {
      findings.push(
        name === "IPv4"
          ? fail(check, reason(error), "the system has no working UDP")
          : ok(check, "this machine has none: IPv4 serves alone"),
      );
      continue;
    }
    const begun = performance.now();
    const arrived = await receiveSent(socket, 1, 1_400);
    const took = performance.now() - begun;
    findings.push(
      arrived === 1
        ? ok(check, `there and back in ${milliseconds(took)} on loopback`)
        : fail(check, "a datagram to itself is lost", "a firewall drops UDP on loopback: allow it"),
    );
    if (name === "IPv4" && arrived === 1) findings.push(await burst(socket));
    socket.close();
  }
  return findings;
}

async function burst(socket: Deno.DatagramConn): Promise<Finding> {
  const held = await receiveSent(socket, BURST, BURST_BYTES);
  const found = `holds ${held}${held === BURST ? " or more" : ""} small datagrams${bufferBytes()}`;
  const advice = "a burst of answers overflows it: sysctl -w net.core.rmem_default=4194304";
  return held < BURST_FEW
    ? warn("receive buffer", found, advice)
    : ok("receive buffer", `${found} while the node is busy`);
}

/** What Linux says of it, where the program may read that. */
function bufferBytes(): string {
  try {
    const read = (name: string) => Deno.readTextFileSync(`/proc/sys/net/core/${name}`).trim();
    return ` (${read("rmem_default")} bytes, rmem_max ${read("rmem_max")})`;
  } catch {
    return "";
  }
}

/** Sends datagrams from a socket to itself, and then counts those that wait there. Consumes the socket. */
async function receiveSent(
  socket: Deno.DatagramConn,
  count: number,
  size: number,
): Promise<number> {
  const datagram = new Uint8Array(size);
  let arrived = 0;
  try {
    for (let i = 0; i < count; i++) await socket.send(datagram, socket.addr as Deno.NetAddr);
    while (arrived < count) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const next = await Promise.race([
        socket.receive(),
        new Promise<void>((resolve) =>
          timer = setTimeout(resolve, arrived === 0 ? LOOPBACK_MS : 100)
        ),
      ]);
      clearTimeout(timer);
      if (next === undefined) break;
      arrived++;
    }
  } catch {
    // Then it did not arrive.
  }
  return arrived;
}

function clock(
  startedAt: { readonly wall: number; readonly monotonic: number },
  node: NodeStats | undefined,
): Finding {
  const check = "clock", wall = Date.now();
  const advice = "let NTP set it (timedatectl set-ntp true); times shown are wrong until then";
  if (wall < WRITTEN_AT) return fail(check, `it shows ${new Date(wall).toISOString()}`, advice);
  const jumped = wall - startedAt.wall - (performance.now() - startedAt.monotonic);
  if (Math.abs(jumped) > CLOCK_MS) {
    return warn(check, `it jumped by ${milliseconds(Math.abs(jumped))} just now`, advice);
  }
  const sinceStart = node === undefined
    ? 0
    : wall - (Date.parse(node.started_at) + node.uptime_s * 1000);
  if (Math.abs(sinceStart) > CLOCK_MS) {
    const found =
      `it differs by ${milliseconds(Math.abs(sinceStart))} from the node's, which runs on evenly ` +
      "from its start";
    return warn(check, found, "it was set since, or the machine slept; a new start follows it");
  }
  return ok(check, "it runs evenly; whether it is right, peers don't tell");
}

// ---- settings

/** Whether settings fit each other. No name is looked up for it. */
export function judgeSettings({ p2pPort, bootstrapNodes, scope }: Settings): Finding[] {
  const findings: Finding[] = [];
  const filter = new NetFilter(scope);
  const hasNames = scope.mode === "list" && scope.entries.some(({ kind }) => kind === "host");
  const barred = bootstrapNodes.filter((node) => {
    const host = node.slice(0, node.lastIndexOf(":")).replace(/^\[|\]$/g, "");
    const endpoint = Endpoint.parse(host, 1);
    // What a name stands for is not looked up.
    if (endpoint === undefined) return false;
    return !filter.allows(endpoint) && !hasNames;
  });
  const check = "whom it talks to", found = describeScope(scope);
  if (barred.length > 0) {
    const how = scope.mode === "list" ? "add them to the list" : "start it with --allow-net";
    findings.push(fail(check, `${found}; not to bootstrap nodes ${barred.join(", ")}`, how));
  } else if (scope.mode === "loopback") {
    findings.push(warn(check, found, "start it with --allow-net to reach other machines"));
  } else findings.push(ok(check, found));
  findings.push(
    bootstrapNodes.length > 0
      ? ok("bootstrap nodes", `${bootstrapNodes.join(", ")} (names are not looked up here)`)
      : warn(
        "bootstrap nodes",
        "none: it is the first of a network, or knows contacts from before",
        "give --bootstrap HOST:PORT to join one",
      ),
  );
  if (p2pPort > 0 && p2pPort < 1024) {
    findings.push(warn("P2P port", `${p2pPort} needs privileges`, "choose one from 1024 on"));
  }
  return findings;
}

// ---- the running node

/** What a node's own figures say of it; `rtt` is the median of its peers' round-trip times. */
export function judgeNode(stats: NodeStats, rtt: number | null): Finding[] {
  return [
    runningNode(stats),
    ...ready(stats),
    peers(stats),
    ...answers(stats),
    lookups(stats, rtt),
    ...dropped(stats),
    storage(stats),
    ...nat(stats),
    ...portMapping(stats),
  ];
}

function runningNode({ node_id, version, uptime_s }: NodeStats): Finding {
  const found = `${node_id}, version ${version}, up for ${duration(uptime_s)}`;
  return version === VERSION
    ? ok("running node", found)
    : warn("running node", found, `this program is ${VERSION}: start the node again with it`);
}

function ready({ readiness }: NodeStats): Finding[] {
  if (readiness === undefined) return [];
  const { ready, reason } = readiness;
  const advice = "look at the bootstrap nodes, and whether a firewall drops UDP, in or out";
  return [ready ? ok("ready", reason) : fail("ready", reason, advice)];
}

function peers({ peers, readiness, network_size_estimate: size }: NodeStats): Finding {
  const { healthy, degraded, unhealthy } = peers;
  const check = "peers";
  const found = `${healthy} healthy, ${degraded} degraded, ${unhealthy} unhealthy`;
  if (healthy === 0) {
    return readiness?.ready
      ? warn(check, found, "it is alone: nobody has joined through it yet")
      : fail(check, found, "nobody answers it: see above");
  }
  if (degraded + unhealthy > healthy) {
    return warn(check, found, "most don't answer: an outage, a bad line, or a full receive buffer");
  }
  if (healthy >= PEERS_ENOUGH || size === null || size <= 2 * healthy) {
    return ok(check, size === null ? found : `${found}, of some ${size} nodes`);
  }
  const advice =
    "too few: it has just joined, or others can't reach it at its port (firewall, NAT)";
  return warn(check, `${found}, of some ${size} nodes`, advice);
}

function answers({ readiness }: NodeStats): Finding[] {
  if (readiness === undefined) return [];
  const { queries, answers, over_s } = readiness;
  const check = "answers";
  if (queries < QUERIES_ENOUGH) {
    return [unknown(check, `${answers} to ${queries} queries of ${over_s} s: too few to judge by`)];
  }
  const share = Math.min(1, answers / queries);
  const found = `${Math.round(100 * share)} % of ${queries} queries in ${over_s} s`;
  const advice = "packets are lost: the line, the router's table of connections, or dead peers";
  return [share < ANSWERS_FEW ? warn(check, found, advice) : ok(check, found)];
}

function lookups({ lookups }: NodeStats, rtt: number | null): Finding {
  const { count, success, hops_mean, latency_ms: { p50, p95 } } = lookups;
  const check = "lookups";
  if (count < LOOKUPS_ENOUGH || p50 === null || p95 === null) {
    return unknown(check, `${count} so far: too few to judge by`);
  }
  const share = success / count;
  const found =
    `${Math.round(100 * share)} % of ${count} found nodes, half within ${milliseconds(p50)}, ` +
    `95 % within ${milliseconds(p95)}`;
  if (share < LOOKUPS_GOOD) {
    return warn(check, found, "nobody answered the others: outages, or lost packets (see answers)");
  }
  if (p95 <= LOOKUP_SLOW_MS) return ok(check, found);
  const travel = (hops_mean ?? 1) * (rtt ?? 0);
  const advice = p50 < LOOKUP_SLOW_MS / 2
    ? "slow now and then: those waited for peers that did not answer"
    : travel < p50 / 3
    ? "slow: most of the time it waits for peers that don't answer, or the machine is overloaded"
    : rtt !== null && rtt > FAR_RTT_MS
    ? `slow: its peers are far, half of them beyond ${milliseconds(rtt)}, or its line is`
    : `slow: ${(hops_mean ?? 1).toFixed(1)} hops on average; more peers make them fewer`;
  return warn(check, found, advice);
}

function dropped({ traffic }: NodeStats): Finding[] {
  const list = Object.entries(traffic.dropped).filter(([, count]) => count > 0);
  if (list.length === 0) return [];
  const found = list.map(([why, count]) => `${count} ${why}`).join(", ");
  return [
    (traffic.dropped.send_queue_full ?? 0) > 0
      ? warn("dropped packets", found, "the line or the machine is too slow for what it sends")
      : ok("dropped packets", found),
  ];
}

function storage({ storage: { bytes: held, limit_bytes: limit } }: NodeStats): Finding {
  const found = `${bytes(held)} of ${bytes(limit)}`;
  return held > 0.95 * limit
    ? warn(
      "values of others",
      found,
      "far ones make room for near ones; raise STORAGE_LIMIT or not",
    )
    : ok("values of others", found);
}

/** Where others see it, and whether strangers can reach it there, in each family in which anybody has told. */
function nat({ nat: { families = [], introducers = 0 } }: NodeStats): Finding[] {
  const seen = families.filter(({ external_address }) => external_address !== null);
  if (seen.length === 0) return [unknown("seen from outside", "no peer has told its address yet")];
  return seen.map(({ family, external_address, type, reachable, evidence }) => {
    const check = seen.length === 1 ? "seen from outside" : `seen from outside over IPv${family}`;
    const { votes, voters, reason } = evidence;
    const found = `${external_address}, by ${votes} of ${voters} peers (${
      NAT_WORDS[type] ?? type
    })`;
    if (reachable === null) {
      return unknown(check, `${found}; ${reason}`, "ask again in some minutes");
    }
    if (reachable) return ok(check, `${found}; strangers can reach it: ${reason}`);
    const met = introducers === 0
      ? "nobody introduces others to it yet"
      : `${introducers} nodes introduce others to it`;
    return warn(
      check,
      `${found}; strangers can't reach it: ${reason}. It is a full client, and ${met}`,
      "forward UDP P2P_PORT to this machine in the router, or let it in at the firewall",
    );
  });
}

const NAT_WORDS: Readonly<Record<string, string>> = {
  none: "an address of this machine",
  endpoint_independent: "a NAT that gives all peers one port",
  symmetric: "a NAT that gives each peer another port",
  unknown: "NAT not known",
};

/** What the router does for the P2P port. */
function portMapping({ nat: { mapping, pinhole, reachable } }: NodeStats): Finding[] {
  const findings: Finding[] = [];
  if (mapping) findings.push(judgeMapping(mapping, reachable ?? null));
  // No IPv6, or no firewall that has to be asked, is nothing to tell of.
  if (pinhole?.status === "mapped") {
    findings.push(ok("IPv6 firewall", `${pinhole.gateway} lets UDP in (${pinhole.protocol})`));
  }
  return findings;
}

function judgeMapping(mapping: MappingStats, reachable: boolean | null): Finding {
  const check = "port mapping";
  const { status, protocol, gateway, external_address: external, problem } = mapping;
  const found = `${external} by the router ${gateway} (${protocol})`;
  switch (status) {
    case "mapped":
      return reachable === false
        ? warn(
          check,
          `${found}, but strangers can't reach the node`,
          "another NAT or a firewall lies beyond the router, or it does not do what it says",
        )
        : ok(check, found);
    case "behind_another_nat":
      return warn(
        check,
        `${found}: ${problem}`,
        "set the outer router to bridge mode, forward the port there too, or ask for a public address",
      );
    case "not_needed":
      return ok(check, "not needed: this machine has a public address");
    case "none":
      return reachable === true ? ok(check, `none, nor is one needed: ${problem}`) : warn(
        check,
        `none: ${problem}`,
        "turn on UPnP, NAT-PMP or PCP in the router, or forward UDP P2P_PORT to this machine there",
      );
    default:
      return unknown(check, "the router has not answered yet", "ask again in a minute");
  }
}
