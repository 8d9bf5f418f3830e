// The page of `dmnode stats`: what a node is doing, for whoever runs it.

import { NAT_WORDS } from "../runtime/nat_report.ts";
import type { Stats } from "./network.ts";
import { type Cell, printPairs, printTable } from "./table.ts";
import { print, printable, stdout, type Style } from "./terminal.ts";
import { bytes, count, counted, duration, milliseconds, percent } from "./units.ts";

type Pairs = [name: string, value: Cell][];

/** Message types that are told; there are few more, and strangers invent others. */
const MAX_TYPES = 12;

/** Prints the page. */
export function statsPage(stats: Stats, url: string): void {
  const section = (title: string, pairs: Pairs) => {
    print();
    print(stdout.paint(["bold", "underline"], title));
    printPairs(pairs);
  };
  printPairs(identity(stats, url));
  section("Network", network(stats));
  section("Lookups since the start", lookups(stats));
  section("Values", values(stats));
  section("Reached from outside", reach(stats));
  section("Traffic", []);
  printTraffic(stats);
  section("Settings", settings(stats));
}

function identity(stats: Stats, url: string): Pairs {
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

function network(stats: Stats): Pairs {
  const { peers, readiness, network_size_estimate: size } = stats;
  const style: Style = peers.healthy === 0 || peers.healthy < peers.degraded + peers.unhealthy
    ? "yellow"
    : "green";
  const distances = Object.entries(stats.bucket_distribution).filter(([, n]) => n > 0)
    .map(([range, n]) => `${count(n)} at ${range}`).join(", ");
  const { queries, answers, over_s } = readiness;
  return [
    ["peers", [healthText(peers), style]],
    [
      "table",
      `${counted(stats.routing_table_size, "contact")} in ${counted(stats.buckets, "bucket")}` +
      (distances === "" ? "" : `; bits of distance: ${distances}`),
    ],
    ["size", size === null ? "not known yet" : `about ${counted(size, "node")} in the network`],
    [
      "answers",
      queries === 0
        ? "nothing was asked lately"
        : `${percent(Math.min(1, answers / queries))} of ` +
          `${counted(queries, "query", "queries")} in ${duration(over_s)}`,
    ],
  ];
}

/** Peers by health. */
export function healthText({ healthy, degraded, unhealthy }: Stats["peers"]): string {
  return `${count(healthy)} healthy, ${count(degraded)} degraded, ${count(unhealthy)} unhealthy`;
}

function lookups({ lookups }: Stats): Pairs {
  const { count: all, success, active, hops_mean, latency_ms: { mean, p50, p95 } } = lookups;
  const now = active === 0 ? "" : `, ${count(active)} under way`;
  const pairs: Pairs = [["done", `${count(all)}${now}`]];
  if (all > 0) {
    const share = success / all;
    pairs.push(["answered", [percent(share, 1), share < 0.9 ? "yellow" : "green"]]);
  }
  if (p50 !== null && p95 !== null && mean !== null) {
    const [half, most, average] = [p50, p95, mean].map(milliseconds);
    pairs.push(["took", `half up to ${half}, 95 % up to ${most}, on average ${average}`]);
  }
  if (hops_mean !== null) pairs.push(["hops", `${hops_mean.toFixed(1)} on average`]);
  return pairs;
}

function values({ storage }: Stats): Pairs {
  const { items, bytes: held, limit_bytes: limit } = storage;
  const share = limit === 0 ? 1 : held / limit;
  const room = `${counted(items, "item")}, ${bytes(held)} of ${bytes(limit)} (${
    percent(share, 1)
  })`;
  return [
    ["held", share > 0.95 ? [room, "yellow"] : room],
    [
      "",
      `${counted(storage.expiring_within_hour, "item")} ` +
      `${storage.expiring_within_hour === 1 ? "expires" : "expire"} within the hour; ` +
      `${counted(storage.replicated, "item")} for others; ` +
      `${counted(storage.copies_made, "copy", "copies")} made for others`,
    ],
    [
      "published",
      `${counted(storage.published, "value")} in ${counted(storage.published_items, "item")}, ` +
      `published again ${counted(storage.republications, "time")}`,
    ],
    ["swarms", counted(storage.announced_peers, "announced peer")],
  ];
}

function reach({ nat }: Stats): Pairs {
  const families = nat.families.map((family): Pairs[number] => {
    const { external_address: seen, type, reachable, evidence: { votes, voters, reason } } = family;
    const name = `IPv${family.family}`;
    if (seen === null) return [name, "no peer has told its address yet"];
    const told = `seen as ${seen} by ${count(votes)} of ${counted(voters, "peer")}, ` +
      `${NAT_WORDS[type]}; `;
    const why = reason === "" ? "" : `: ${printable(reason)}`;
    return reachable === null
      ? [name, `${told}whether strangers can reach it is not known yet${why}`]
      : reachable
      ? [name, [`${told}strangers can reach it${why}`, "green"]]
      : [name, [`${told}strangers can't reach it${why}`, "yellow"]];
  });
  const pairs: Pairs = [...families, ["NAT", nat.mode]];
  if (nat.read_only) {
    pairs.push([
      "answers",
      `no strangers (BEP 43); ${counted(nat.introducers, "node")} ` +
      `${nat.introducers === 1 ? "introduces" : "introduce"} others to it`,
    ]);
  }
  if (nat.mapping !== null) pairs.push(["port mapping", mapping(nat.mapping)]);
  if (nat.pinhole !== null) pairs.push(["IPv6 firewall", mapping(nat.pinhole)]);
  return pairs;
}

/** What the router does for the port. */
function mapping(
  { status, protocol, gateway, external_address: external, problem }: NonNullable<
    Stats["nat"]["mapping"]
  >,
): string {
  const router = gateway === null ? "" : ` by the router ${printable(gateway)} (${protocol})`;
  const address = external === null ? "" : `: ${external}`;
  const trouble = problem === null ? "" : `; ${printable(problem)}`;
  return `${status.replaceAll("_", " ")}${address}${router}${trouble}`;
}

function printTraffic({ traffic }: Stats): void {
  const row = (name: string, way: "in" | "out"): Cell[] => {
    const { messages, bytes: all, messages_per_second, bytes_per_second } = traffic[way];
    return [
      name,
      count(messages),
      bytes(all),
      `${messages_per_second.toFixed(messages_per_second < 10 ? 1 : 0)}/s`,
      `${bytes(bytes_per_second)}/s`,
    ];
  };
  const number = (head: string) => ({ head, align: "right" } as const);
  printTable(
    [{ head: "" }, number("MESSAGES"), number("BYTES"), number("NOW"), number("NOW")],
    [row("in", "in"), row("out", "out")],
  );
  const types = [...new Set([...typesOf(traffic.in), ...typesOf(traffic.out)])]
    .map((type) => ({
      type,
      got: traffic.in.by_type[type]?.messages ?? 0,
      sent: traffic.out.by_type[type]?.messages ?? 0,
    }))
    .sort((x, y) => y.got + y.sent - x.got - x.sent);
  if (types.length > 0) {
    print();
    printTable(
      [{ head: "TYPE", shrinks: "text" }, number("IN"), number("OUT")],
      types.slice(0, MAX_TYPES).map(({ type, got, sent }) => [
        printable(type),
        count(got),
        count(sent),
      ]),
    );
  }
  const dropped = Object.entries(traffic.dropped).filter(([, n]) => n > 0);
  if (dropped.length === 0) return;
  print();
  printPairs([[
    "dropped",
    dropped.map(([why, n]) => `${count(n)} ${why.replaceAll("_", " ")}`).join(", "),
  ]]);
}

function typesOf({ by_type }: Stats["traffic"]["in"]): string[] {
  return Object.keys(by_type).filter((type) => by_type[type].messages > 0);
}

/** Each setting under its variable's name. */
function settings({ config }: Stats): Pairs {
  return leaves(config).map(([name, value]) => [name.toUpperCase(), value]);
}

/** An object's leaves with their paths; a list is one. */
function leaves(value: unknown, path = ""): [name: string, value: string][] {
  if (Array.isArray(value)) return [[path, value.length === 0 ? "-" : value.join(", ")]];
  if (value === null || typeof value !== "object") return [[path, printable(`${value ?? "-"}`)]];
  return Object.entries(value).flatMap(([name, inner]) =>
    leaves(inner, path === "" ? name : `${path}.${name}`)
  );
}
