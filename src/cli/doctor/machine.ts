// Checks this machine: program, permissions, data directory, ports, network and clock. Sends packets only on loopback.

import { ListenError } from "../../api/errors.ts";
import { isAbsent } from "../../runtime/net/loopback.ts";
import { checkHosts } from "../../api/server.ts";
import { statfsSync } from "node:fs";
import { COMMIT } from "../../commit.ts";
import type { Config } from "../../config.ts";
import { isLoopbackHost } from "../../krpc/address_range.ts";
import { files } from "../../runtime/files.ts";
import { databasePath, readIdentity } from "../../runtime/identity/identity.ts";
import { MessageBatch } from "../../runtime/net/message_batch.ts";
import { BindError, UdpSocket } from "../../runtime/net/udp.ts";
import { peek } from "../../storage/peek.ts";
import { VERSION } from "../../version.ts";
import { fail, type Finding, judged, ok, unknown, warn } from "../../web/findings.js";
import { bytes, ms } from "../../web/format.js";
import type { Stats } from "../../reports/stats.ts";
import { reason } from "../terminal/errors.ts";

/** The statistics of a node that runs on this machine, and the URL of its API. */
interface LocalNode {
  readonly stats: Stats;
  readonly api: string;
}

/** The maximum wait for the first datagram, which normally takes microseconds, and then for each further one. */
const FIRST_DATAGRAM_MS = 1_000, NEXT_DATAGRAM_MS = 100;

/** The number and size of the datagrams that measure the receive buffer. Typical answers have about this size. */
const BURST = 600, BURST_BYTES = 100;

/** A receive buffer that holds fewer datagrams than this would lose answers when several lookups run at a time. */
const MIN_BURST = 128;

/** The size in bytes of a large datagram that networks usually don't fragment. */
const DATAGRAM_BYTES = 1_400;

/** Minimum free disk space in bytes. With less, the node will soon refuse values. */
const MIN_FREE_BYTES = 100 * 1024 * 1024;

/**
 * The maximum difference between the wall clock and the monotonic clock that counts as normal. Small adjustments by
 * NTP are normal.
 */
const CLOCK_TOLERANCE_MS = 5_000;

/** The program was made after this date, so an earlier wall-clock time is wrong. */
const EARLIEST_TIME = Date.UTC(2026, 0, 1);

const NODE_USER = "run this as the node's user";

export function program(): Finding {
  const { deno } = Deno.version;
  const found = `dmnode ${VERSION} (${COMMIT}), Deno ${deno}, ${Deno.build.target}`;
  const [major, minor] = deno.split(".").map(Number);
  const isOld = major < 2 || (major === 2 && minor < 4);
  return isOld ? fail("program", found, "use Deno 2.4 or newer") : ok("program", found);
}

const REQUIRED_PERMISSIONS = ["net", "read", "write", "env"] as const;

export function permissions(dataDir: string): Finding {
  const isGranted = (name: Deno.PermissionDescriptor["name"]) => {
    const descriptor: Deno.PermissionDescriptor = name === "read" || name === "write"
      ? { name, path: dataDir }
      : name === "env"
      ? { name, variable: "DATA_DIR" }
      : { name };
    return Deno.permissions.querySync(descriptor).state === "granted";
  };
  const missing = REQUIRED_PERMISSIONS.filter((name) => !isGranted(name));
  if (missing.length > 0) {
    const found = `${missing.join(", ")} not permitted`;
    return fail("permissions", found, "start it as make start does");
  }
  const others = (["run", "ffi", "sys", "import"] as const).filter(isGranted);
  const granted: string[] = [...REQUIRED_PERMISSIONS, ...others];
  // main.ts has opened the C library, and has given up the permission to open another library.
  if (MessageBatch.isPossible) granted.push("the C library's calls for batches of datagrams");
  const found = `it may use ${granted.join(", ")}; a running node gives up all but net`;
  return ok("permissions", found);
}

/** Checks the data directory and its files. `node` is the running node that uses the directory, if there is one. */
export function dataDirectory(
  dataDir: string,
  storageLimit: number,
  node: LocalNode | undefined,
): Finding[] {
  const check = `DATA_DIR ${dataDir}`;
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(dataDir);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      return [fail(check, reason(error), `${NODE_USER}, or give another --data-dir`)];
    }
    if (node === undefined) return [ok(check, "it does not exist; the first start creates it")];
    const advice = `give both: dmnode doctor --api ${node.api} --data-dir DIR`;
    return [unknown(check, "the running node's directory is not visible from here", advice)];
  }
  if (!info.isDirectory) return [fail(check, "it is not a directory", "give another --data-dir")];
  const findings: Finding[] = [];
  if (Deno.build.os !== "windows" && ((info.mode ?? 0) & 0o077) !== 0) {
    const advice = `exclude them: chmod 700 '${dataDir}'`;
    findings.push(warn(check, "other users have access to it", advice));
  }
  try {
    Deno.removeSync(Deno.makeTempFileSync({ dir: dataDir, prefix: "doctor-" }));
    findings.push(ok(check, "it is writable"));
  } catch (error) {
    const advice = `${NODE_USER}, or give that user the directory`;
    findings.push(fail(check, `it can't be written: ${reason(error)}`, advice));
  }
  findings.push(
    freeSpace(dataDir, storageLimit),
    identity(dataDir),
    database(dataDir, node),
  );
  return findings;
}

function freeSpace(dataDir: string, storageLimit: number): Finding {
  const check = "free space";
  if (Deno.permissions.querySync({ name: "sys", kind: "statfs" }).state !== "granted") {
    return unknown(check, "the program is not permitted to ask", `see df -h '${dataDir}'`);
  }
  const { bavail, bsize } = statfsSync(dataDir);
  const free = bavail * bsize;
  const found = bytes(free);
  if (free < MIN_FREE_BYTES) {
    return fail(check, found, "free some space: the node will soon refuse values");
  }
  const advice = `it is less than STORAGE_LIMIT (${bytes(storageLimit)}): lower that`;
  return judged(check, found, free < storageLimit && advice);
}

function identity(dataDir: string): Finding {
  const check = "identity";
  try {
    if (readIdentity(dataDir) !== undefined) return ok(check, "it is readable");
  } catch (error) {
    return fail(check, reason(error), "see docs/operations.md, Back up");
  }
  if (!exists(databasePath(dataDir))) return ok(check, "the first start creates it");
  return warn(
    check,
    "it is missing beside a database: a node that publishes signed values does not start",
    "restore identity.pem, or import the key with dmnode identity import",
  );
}

/**
 * Whether the file exists. If the system does not say, returns false, and the check of the database
 * reports the reason.
 */
function exists(path: string): boolean {
  try {
    return files.size(path) !== undefined;
  } catch {
    return false;
  }
}

function database(dataDir: string, node: LocalNode | undefined): Finding {
  const check = "database", path = databasePath(dataDir);
  let size: number | undefined;
  try {
    size = files.size(path);
  } catch (error) {
    return fail(check, reason(error), NODE_USER);
  }
  if (size === undefined) return ok(check, "the first start creates it");
  const { nodeId, problem } = peek(path, files);
  const file = `${path}, ${bytes(size)}`;
  if (nodeId !== undefined) return ok(check, `${file}, is readable; no process uses it`);
  if (problem?.kind === "in_use") {
    const found = `${file}, is in use by a process that was not asked or does not answer`;
    return node === undefined
      ? warn(check, found, "give a running node's --api, or stop the process")
      : ok(check, `${file}, is in use by the running node`);
  }
  if (problem === undefined || problem.kind === "damaged") {
    return fail(check, `${file}, is not readable`, "restore a copy, or move it away to start anew");
  }
  const advice = problem.kind === "full" || problem.kind === "io"
    ? "free some space, or see the system's log"
    : `${NODE_USER}, or give that user the file and its directory`;
  return fail(check, `${file}, can't be opened: ${problem.text}`, advice);
}

/** Checks that the ports are free, unless a node is running and uses them. */
export function ports(config: Config, node: LocalNode | undefined): Finding[] {
  if (node !== undefined) {
    return [
      ok("P2P port", `the running node uses UDP ${node.stats.addresses.join(", ")}`),
      ok("API port", `the running node answers at ${node.api}`),
    ];
  }
  return [p2pPort(config), apiPort(config)];
}

function p2pPort({ allowNet, p2pHost, p2pPort: port }: Config): Finding {
  const host = allowNet.mode === "loopback" ? "127.0.0.1" : p2pHost;
  try {
    void UdpSocket.bind({ host, port, receive: () => {}, onOverflow: () => {} }).close();
    return ok("P2P port", `UDP ${port} is free`);
  } catch (error) {
    if (!(error instanceof BindError)) throw error;
    return fail("P2P port", error.message, "a node can't start with this setting");
  }
}

function apiPort({ apiHost, apiPort: port }: Config): Finding {
  try {
    checkHosts(apiHost, port);
    return ok("API port", apiHost.length === 0 ? "none: only a socket" : `TCP ${port} is free`);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    const advice = "stop the program that uses it, or choose another --api-port";
    return fail("API port", error.message, advice);
  }
}

export function addresses(): Finding {
  const check = "network addresses";
  if (Deno.permissions.querySync({ name: "sys", kind: "networkInterfaces" }).state !== "granted") {
    return unknown(check, "the program is not permitted to list them", "see ip address");
  }
  const all = Deno.networkInterfaces().map(({ address }) => address);
  const found = all.filter((address) => !isLoopbackHost(address) && !/^fe80/i.test(address))
    .join(", ") || "only loopback";
  return judged(check, found, found === "only loopback" && "connect the machine to a network");
}

/** Checks UDP over IPv4 and IPv6 on loopback, and measures how many datagrams the receive buffer holds. */
export async function loopback(): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, hostname] of [["IPv4", "127.0.0.1"], ["IPv6", "::1"]] as const) {
    const check = `UDP over ${name}`;
    let socket: Deno.DatagramConn;
    try {
      socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    } catch (error) {
      findings.push(
        name === "IPv4" && !isAbsent(error)
          ? fail(check, reason(error), "the system has no working UDP")
          : ok(
            check,
            name === "IPv4"
              ? "this machine has no IPv4 loopback; a node works with IPv6 only"
              : "this machine has no IPv6; a node works with IPv4 only",
          ),
      );
      continue;
    }
    const begun = performance.now();
    const isReceived = await countReceived(socket, 1, DATAGRAM_BYTES) === 1;
    const took = ms(performance.now() - begun);
    findings.push(
      isReceived
        ? ok(check, `a datagram to itself took ${took}`)
        : fail(check, "a datagram to itself was lost", "let the firewall pass UDP on loopback"),
    );
    if (name === "IPv4" && isReceived) findings.push(await receiveBuffer(socket));
    socket.close();
  }
  return findings;
}

async function receiveBuffer(socket: Deno.DatagramConn): Promise<Finding> {
  const held = await countReceived(socket, BURST, BURST_BYTES);
  const amount = held === BURST ? `${held} or more` : held;
  const found = `it holds ${amount} small datagrams while the node is busy${bufferBytes()}`;
  const advice = "enlarge it, since bursts of answers overflow it: " +
    "sysctl -w net.core.rmem_default=4194304";
  return judged("receive buffer", found, held < MIN_BURST && advice);
}

/**
 * Describes Linux's settings for receive buffers. Returns an empty text if the program can't read
 * them.
 */
function bufferBytes(): string {
  try {
    const read = (name: string) => Deno.readTextFileSync(`/proc/sys/net/core/${name}`).trim();
    return ` (${read("rmem_default")} bytes, rmem_max ${read("rmem_max")})`;
  } catch {
    return "";
  }
}

/** Sends datagrams from a socket to itself, then counts how many of them it receives. */
async function countReceived(
  socket: Deno.DatagramConn,
  count: number,
  size: number,
): Promise<number> {
  const datagram = new Uint8Array(size);
  let received = 0;
  try {
    for (let i = 0; i < count; i++) await socket.send(datagram, socket.addr as Deno.NetAddr);
    while (received < count) {
      const timeoutMs = received === 0 ? FIRST_DATAGRAM_MS : NEXT_DATAGRAM_MS;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, timeoutMs));
      const next = await Promise.race([socket.receive(), timeout]);
      clearTimeout(timer);
      if (next === undefined) break;
      received++;
    }
  } catch {
    // A datagram that can't be sent or received counts as lost.
  }
  return received;
}

/**
 * Checks that the wall clock is plausible, and that it has not jumped since `start`, which is when doctor started, or
 * since the node started.
 */
export function clock(
  start: { readonly wall: number; readonly monotonic: number },
  stats: Stats | undefined,
): Finding {
  const check = "clock", wall = Date.now();
  const advice =
    "let NTP set it (timedatectl set-ntp true); until then, times in reports are wrong";
  if (wall < EARLIEST_TIME) return fail(check, `it shows ${new Date(wall).toISOString()}`, advice);
  const jump = Math.abs(wall - start.wall - (performance.now() - start.monotonic));
  if (jump > CLOCK_TOLERANCE_MS) return warn(check, `it jumped by ${ms(jump)} just now`, advice);
  const nodeTime = stats ? Date.parse(stats.started_at) + stats.uptime_s * 1000 : wall;
  const difference = Math.abs(wall - nodeTime);
  if (difference <= CLOCK_TOLERANCE_MS) {
    return ok(
      check,
      "it runs evenly; peers don't report the time, so doctor can't check whether it is right",
    );
  }
  return warn(
    check,
    `it differs by ${ms(difference)} from the node's, which has run evenly since its start`,
    "restart the node: the clock has been set since then, or the machine slept",
  );
}
