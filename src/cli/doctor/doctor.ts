// `dmnode doctor`: checks this machine, the settings and a running node, and says what to do about problems.

import {
  describeScope,
  hostPortText,
  type NetScope,
  parseAllowNet,
} from "../../config/addresses.ts";
import { type Config, loadConfig } from "../../config.ts";
import { ConfigError } from "../../config/text.ts";
import { Endpoint } from "../../krpc/endpoint.ts";
import { NetFilter } from "../../runtime/net/net_scope.ts";
import {
  fail,
  type Finding,
  judged,
  judgeNode,
  medianRttOf,
  ok,
  unknown,
  type Verdict,
  warn,
} from "../../web/findings.js";
import { duration, plural } from "../../web/format.js";
import { Api, type ApiFlags, DOCTOR_TIMEOUT_S } from "../client/api_client.ts";
import { isLoopbackUrl } from "../client/api_target.ts";
import type { Peers } from "../../reports/peers.ts";
import type { Stats } from "../../reports/stats.ts";
import { type NodeFlags, readConfig } from "../settings.ts";
import { VERSION } from "../../version.ts";
import { UserError } from "../terminal/errors.ts";
import { widthOf, wrapped } from "../terminal/table.ts";
import { print, printable, printJson, stdout, type Style } from "../terminal/terminal.ts";
import {
  addresses,
  clock,
  dataDirectory,
  loopback,
  permissions,
  ports,
  program,
} from "./machine.ts";

/** Runs all checks and prints the findings. Throws a UserError at the end if a check failed. */
export async function doctor(flags: ApiFlags & NodeFlags): Promise<void> {
  const { api: apiUrl, json, timeout, ...settings } = flags;
  const { envFile: _, color: __, ...startOptions } = settings;
  // The options of `dmnode start` describe a node that is not running yet. If any are given, don't
  // query a running node.
  const isStart = apiUrl === undefined &&
    Object.values(startOptions).some((value) => value !== undefined);
  const start = { wall: Date.now(), monotonic: performance.now() };
  const api = clientOf({ ...flags, timeout: timeout ?? DOCTOR_TIMEOUT_S });
  const answer = isStart
    ? "not checked: these options are for starting a node; use --api to check a running one"
    : typeof api === "string"
    ? api
    : await statsOf(api);
  const stats = typeof answer === "string" ? undefined : answer;
  const url = typeof api === "string" ? "" : api.url;
  const { config, findings } = checkSettings(settings);
  const dataDir = flags.dataDir === undefined && stats !== undefined
    ? stats.config.data_dir
    : config.dataDir;
  findings.push(program(), permissions(dataDir));
  if (stats === undefined || isLoopbackUrl(url)) {
    const node = stats && { stats, api: url };
    findings.push(...dataDirectory(dataDir, config.storageLimit, node), ...ports(config, node));
  } else {
    findings.push(unknown("DATA_DIR and ports", `they are on the machine of ${url}`));
  }
  findings.push(
    addresses(),
    ...await loopback(),
    ...judgeSettings(stats === undefined ? settingsOfStart(config) : settingsOfNode(stats)),
    clock(start, stats),
    ...typeof answer === "string"
      ? [unknown("running node", answer)]
      : [version(answer), ...judgeNode(answer, await medianRtt(api))],
  );

  const failed = findings.filter(({ verdict }) => verdict === "fail").length;
  if (json) printJson({ ok: failed === 0, node: stats?.node_id ?? null, findings });
  else printFindings(findings);
  if (failed > 0) throw new UserError(`${failed} of ${plural(findings.length, "check")} failed`);
}

/**
 * Creates the client of the node's API. If the settings that choose the URL or token are wrong, returns the error's
 * message. Throws a UserError if there is a problem and --api was given.
 */
function clientOf(flags: ApiFlags): Api | string {
  try {
    return new Api(flags);
  } catch (error) {
    if (flags.api === undefined && error instanceof UserError) return error.message;
    throw error;
  }
}

/** Fetches the node's statistics. If that fails, returns the error's message. */
async function statsOf(api: Api): Promise<Stats | string> {
  try {
    return await api.get<Stats>("/network/stats", "node_id");
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

async function medianRtt(api: Api | string): Promise<number | null> {
  if (typeof api === "string") return null;
  const { peers } = await api.get<Peers>("/network/peers", "peers").catch(() => ({ peers: [] }));
  return medianRttOf(peers);
}

/** Judges whether the node runs the same version as this program. */
export function version({ node_id, version, uptime_s }: Stats): Finding {
  const found = `${node_id}, version ${version}, up for ${duration(uptime_s)}`;
  const advice = `this program is ${VERSION}: restart the node with it`;
  return judged("running node", found, version !== VERSION && advice);
}

/**
 * Loads the configuration as `dmnode start` would. If it is invalid, returns a finding that says so, and the
 * defaults for the other checks.
 */
function checkSettings(flags: NodeFlags): { config: Config; findings: Finding[] } {
  const check = "settings";
  try {
    const config = readConfig(flags);
    const warnings = config.warnings.map((text) =>
      warn(check, text, "correct it, unless it is intended")
    );
    return { config, findings: warnings.length > 0 ? warnings : [ok(check, "all are valid")] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const finding = fail(check, error.message, "correct it: a node can't start with this");
    return { config: loadConfig(), findings: [finding] };
  }
}

function settingsOfStart({ p2pPort, bootstrapNodes, allowNet }: Config) {
  return { p2pPort, bootstrapNodes: bootstrapNodes.map(hostPortText), scope: allowNet };
}

function settingsOfNode({ config: { p2p_port, bootstrap_nodes, allow_net } }: Stats) {
  const scope = parseAllowNet(typeof allow_net === "boolean" ? allow_net : allow_net.join());
  return { p2pPort: p2p_port, bootstrapNodes: bootstrap_nodes, scope };
}

/** Checks that settings are consistent. Each of the `bootstrapNodes` is HOST:PORT, with an IPv6 host in brackets. */
export function judgeSettings(
  { p2pPort, bootstrapNodes, scope }: {
    readonly p2pPort: number;
    readonly bootstrapNodes: readonly string[];
    readonly scope: NetScope;
  },
): Finding[] {
  const isAlone = bootstrapNodes.length === 0;
  const nodes = isAlone
    ? "none: the node is the first of a network, or remembers contacts"
    : `${bootstrapNodes.join(", ")} (doctor does not resolve names)`;
  const findings = [
    judgeScope(bootstrapNodes, scope),
    judged("bootstrap nodes", nodes, isAlone && "give --bootstrap HOST:PORT to join a network"),
  ];
  if (p2pPort > 0 && p2pPort < 1024) {
    findings.push(warn("P2P port", `${p2pPort} needs privileges`, "choose 1024 or higher"));
  }
  return findings;
}

function judgeScope(bootstrapNodes: readonly string[], scope: NetScope): Finding {
  const check = "allowed addresses", found = describeScope(scope);
  const filter = new NetFilter(scope);
  // A bootstrap address that is not in the list may still be the address of a host name in the list.
  const hasNames = scope.mode === "list" && scope.entries.some(({ kind }) => kind === "host");
  const barred = bootstrapNodes.filter((node) => {
    const host = node.slice(0, node.lastIndexOf(":")).replace(/^\[|\]$/g, "");
    const endpoint = Endpoint.parse(host, 1);
    return endpoint !== undefined && !filter.allows(endpoint) && !hasNames;
  });
  if (barred.length > 0) {
    const advice = scope.mode === "list" ? "add them to the list" : "start it with --allow-net";
    return fail(check, `${found}; not the bootstrap nodes ${barred.join(", ")}`, advice);
  }
  const advice = "start it with --allow-net to reach other machines";
  return judged(check, found, scope.mode === "loopback" && advice);
}

const STYLES: Readonly<Record<Verdict, Style>> = {
  ok: "green",
  warn: "yellow",
  fail: "red",
  unknown: "dim",
};

const VERDICT_CELLS = 8;

/** Prints the findings, and each piece of advice once. */
function printFindings(findings: readonly Finding[]): void {
  const given = new Set<string>();
  for (const finding of findings) {
    const { advice } = finding;
    printFinding(finding, advice !== null && given.has(advice));
    if (advice !== null) given.add(advice);
  }
}

function printFinding({ check, verdict, found, advice }: Finding, isAdviceGiven: boolean): void {
  const todo = advice === null
    ? ""
    : isAdviceGiven
    ? " (see the advice above)"
    : `. ${advice[0].toUpperCase()}${advice.slice(1)}`;
  // Statistics may contain text from strangers, such as an address that they report, so replace control characters.
  const text = printable(`${check}: ${found}${todo}`);
  const width = stdout.columns === null ? Infinity : stdout.columns - VERDICT_CELLS;
  const [first, ...more] = wrapped(text, width);
  const mark = stdout.paint(STYLES[verdict], verdict);
  print(`${mark}${" ".repeat(VERDICT_CELLS - widthOf(verdict))}${first}`);
  for (const line of more) print(" ".repeat(VERDICT_CELLS) + line);
}
