// `dmnode stats`: prints a running node's statistics.

import { NAT_WORDS } from "../runtime/reports/nat_report.ts";
import { bytes, count, duration, ms, percent, plural, rate } from "../web/format.js";
import type { Stats } from "../reports/stats.ts";
import type { TrafficReport } from "../reports/traffic.ts";
import { Api, type ApiFlags } from "./client/api_client.ts";
import { type Cell, printPairs, printTable, right, texts } from "./terminal/table.ts";
import { print, printable, printJson, stdout } from "./terminal/terminal.ts";

type Pair = readonly [name: string, value: Cell];

/**
 * The maximum number of message types in the traffic table. Strangers can send any number of
 * message types.
 */
const MAX_TYPES = 12;

export async function stats(flags: ApiFlags): Promise<void> {
  const api = new Api(flags);
  const stats = await api.get<Stats>("/network/stats", "traffic");
  if (flags.json) return printJson(stats);
  const totals = await api.get<TrafficReport>("/network/traffic", "months");
  printPairs(identity(stats, api.url));
  section("Network", network(stats));
  section("Lookups since the start", lookups(stats));
  section("Values", values(stats));
  section("Reachability", reachability(stats));
  section("Traffic", []);
  printTraffic(stats);
  section("Traffic over months, with the headers of UDP and IP; in UTC", []);
  printTotals(totals);
  section("Settings", leaves(stats.config).map(([name, value]) => [name.toUpperCase(), value]));
}

function section(title: string, pairs: readonly Pair[]): void {
  print();
  print(stdout.paint(["bold", "underline"], title));
  printPairs(pairs);
}

function identity(stats: Stats, url: string): Pair[] {
  const { ready, reason } = stats.readiness;
  return [
    ["node", stats.node_id],
    ["ready", [`${ready ? "yes" : "no"}: ${printable(reason)}`, ready ? "green" : "red"]],
    ["version", stats.version],
    ["up for", `${duration(stats.uptime_s)}, since ${stats.started_at}`],
    ["address", `UDP ${stats.addresses.join(", ")}; API ${url}`],
    ["public key", stats.public_key],
  ];
}

function network(stats: Stats): Pair[] {
  const { peers: { healthy, degraded, unhealthy }, network_size_estimate: size } = stats;
  const isPoor = healthy === 0 || healthy < degraded + unhealthy;
  const distances = Object.entries(stats.bucket_distribution).filter(([, n]) => n > 0)
    .map(([range, n]) => `${count(n)} at ${range}`).join(", ");
  const { queries, answers, over_s } = stats.readiness;
  const states = `${count(healthy)} healthy, ${count(degraded)} degraded, ` +
    `${count(unhealthy)} unhealthy`;
  return [
    ["peers", [states, isPoor ? "yellow" : "green"]],
    [
      "table",
      `${plural(stats.routing_table_size, "contact")} in ${plural(stats.buckets, "bucket")}` +
      (distances === "" ? "" : `; by bits of distance: ${distances}`),
    ],
    ["size", size === null ? "not known yet" : `about ${plural(size, "node")} in the network`],
    [
      "answers",
      queries === 0 ? "no recent queries" : `${percent(Math.min(1, answers / queries))} of ` +
        `${plural(queries, "query", "queries")} in ${duration(over_s)}`,
    ],
  ];
}

function lookups({ lookups }: Stats): Pair[] {
  const { count: all, success, active, hops_mean, latency_ms: { mean, p50, p95 } } = lookups;
  const pairs: Pair[] = [["done", count(all) + (active === 0 ? "" : `, ${count(active)} running`)]];
  if (all > 0) {
    const share = success / all;
    pairs.push(["answered", [percent(share), share < 0.9 ? "yellow" : "green"]]);
  }
  if (p50 !== null) {
    pairs.push(["took", `half up to ${ms(p50)}, 95 % up to ${ms(p95)}, on average ${ms(mean)}`]);
  }
  if (hops_mean !== null) pairs.push(["hops", `${hops_mean.toFixed(1)} on average`]);
  return pairs;
}

function values({ storage, swarms }: Stats): Pair[] {
  const { items, bytes: held, limit_bytes: limit, expiring_within_hour: expiring } = storage;
  const share = limit === 0 ? 1 : held / limit;
  const room = `${plural(items, "item")}, ${bytes(held)} of ${bytes(limit)} (${percent(share)})`;
  return [
    ["held", share > 0.95 ? [room, "yellow"] : room],
    [
      "",
      `${plural(expiring, "item")} ${expiring === 1 ? "expires" : "expire"} within the hour; ` +
      `${plural(storage.replicated, "item")} for others; ` +
      `${plural(storage.copies_made, "copy", "copies")} made for others`,
    ],
    [
      "published",
      `${plural(storage.published, "value")} in ${plural(storage.published_items, "item")}, ` +
      `republished ${plural(storage.republications, "time")}`,
    ],
    [
      "swarms",
      `${plural(storage.announced_peers, "peer")} announced here; this host in ` +
      plural(swarms.announced, "swarm"),
    ],
  ];
}

function reachability({ nat }: Stats): Pair[] {
  const pairs: Pair[] = nat.families.map((family) => [`IPv${family.family}`, familyText(family)]);
  pairs.push(["NAT", nat.mode]);
  if (nat.read_only) {
    pairs.push([
      "answers",
      `no strangers (BEP 43); ${plural(nat.introducers, "node")} ` +
      `${nat.introducers === 1 ? "introduces" : "introduce"} others to it`,
    ]);
  }
  if (nat.mapping !== null) pairs.push(["port mapping", mappingText(nat.mapping)]);
  if (nat.pinhole !== null) pairs.push(["IPv6 firewall", mappingText(nat.pinhole)]);
  return pairs;
}

function familyText(
  { external_address, type, reachable, evidence }: Stats["nat"]["families"][number],
): Cell {
  if (external_address === null) return "no peer has reported its address yet";
  const { votes, voters, reason } = evidence;
  const seen = `seen as ${external_address} by ${count(votes)} of ${plural(voters, "peer")}, ` +
    `${NAT_WORDS[type]}; `;
  const why = reason === "" ? "" : `: ${printable(reason)}`;
  if (reachable === null) return `${seen}it is not known yet whether strangers can reach it${why}`;
  return reachable
    ? [`${seen}strangers can reach it${why}`, "green"]
    : [`${seen}strangers can't reach it${why}`, "yellow"];
}

function mappingText(
  { status, protocol, gateway, external_address, problem }: NonNullable<Stats["nat"]["mapping"]>,
): string {
  const address = external_address === null ? "" : `: ${external_address}`;
  const router = gateway === null ? "" : ` by the router ${printable(gateway)} (${protocol})`;
  const trouble = problem === null ? "" : `; ${printable(problem)}`;
  return `${status.replaceAll("_", " ")}${address}${router}${trouble}`;
}

function printTraffic({ traffic }: Stats): void {
  printTable(
    ["", right("MESSAGES"), right("BYTES"), right("NOW"), right("NOW")],
    (["in", "out"] as const).map((direction) => {
      const flow = traffic[direction];
      return [
        direction,
        count(flow.messages),
        bytes(flow.bytes),
        `${rate(flow.messages_per_second)}/s`,
        `${bytes(flow.bytes_per_second)}/s`,
      ];
    }),
  );
  const received = traffic.in.by_type, sent = traffic.out.by_type;
  const types = Object.keys({ ...received, ...sent })
    .map((type) => [type, received[type]?.messages ?? 0, sent[type]?.messages ?? 0] as const)
    .filter(([, inward, outward]) => inward + outward > 0)
    .sort(([, in1, out1], [, in2, out2]) => in2 + out2 - in1 - out1);
  if (types.length > 0) {
    print();
    printTable(
      [texts("TYPE"), right("IN"), right("OUT")],
      types.slice(0, MAX_TYPES).map(([type, inward, outward]) => [
        printable(type),
        count(inward),
        count(outward),
      ]),
    );
  }
  const dropped = Object.entries(traffic.dropped).filter(([, n]) => n > 0)
    .map(([reason, n]) => `${count(n)} ${reason.replaceAll("_", " ")}`);
  if (dropped.length === 0) return;
  print();
  printPairs([["dropped", dropped.join(", ")]]);
}

/** The number of months in the table of totals. */
const SHOWN_MONTHS = 3;

function printTotals({ days, months, budget }: TrafficReport): void {
  if (budget !== null) {
    const { used, bytes: all, until, read_only } = budget;
    const text = `${bytes(used)} of ${bytes(all)} used, until ${until}`;
    printPairs([["budget", read_only ? [`${text}: read-only`, "red"] : text]]);
  }
  const [today] = days.slice(-1), latest = months.slice(-SHOWN_MONTHS).toReversed();
  const rows = [
    ...(today === undefined ? [] : [{ name: today.day, ...today }]),
    ...latest.map(({ month, ...total }) => ({ name: month, ...total })),
  ];
  printTable(
    ["", right("SENT"), right("RECEIVED")],
    rows.map(({ name, sent, received }) => [name, bytes(sent), bytes(received)]),
  );
  const [month] = latest;
  if (month === undefined) return;
  print();
  printTable(
    [texts(`IN ${month.month}`), right("SENT"), right("RECEIVED")],
    Object.entries(month.by_purpose).filter(([, flow]) => flow.sent + flow.received > 0)
      .map(([purpose, flow]) => [
        purpose.replaceAll("_", " "),
        bytes(flow.sent),
        bytes(flow.received),
      ]),
  );
}

/** Flattens an object into pairs of a path, such as `outer.inner`, and a value. A list becomes one value. */
function leaves(value: unknown, path = ""): [name: string, value: string][] {
  if (Array.isArray(value)) return [[path, value.length === 0 ? "-" : value.join(", ")]];
  if (value === null || typeof value !== "object") return [[path, printable(`${value ?? "-"}`)]];
  return Object.entries(value).flatMap(([name, inner]) =>
    leaves(inner, path === "" ? name : `${path}.${name}`)
  );
}
