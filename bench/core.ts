// Measures the node without a socket: finding the closest contacts in a full table, and answering queries.

import { Writer } from "../src/krpc/bencode.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { compareDistance, type Id } from "../src/krpc/id.ts";
import {
  type Method,
  padQuery,
  type QueryArguments,
  REPLY_NODES,
  writeQuery,
} from "../src/krpc/message.ts";
import { entitledBytes } from "../src/dht/reply_size.ts";
import { fullNode, randomId } from "./full_node.ts";
import { nanoseconds, printTable } from "./measure.ts";

/** The number of different targets and queries. The processor's branch predictor would learn a single one. */
const VARIANTS = 1024;

export async function benchCore(): Promise<void> {
  const now = performance.now();
  const full = await fullNode(now);
  benchClosest(full, now);
  benchQueries(full, now);
}

type FullNode = Awaited<ReturnType<typeof fullNode>>;

function benchClosest({ node }: FullNode, now: number): void {
  const table = node.tables.byFamily[4]!;
  const contacts = [...table.contacts()];
  const targets = Array.from({ length: VARIANTS }, randomId);
  const isGood = (contact: typeof contacts[number]) => contact.isGood(now);
  let turn = 0;
  const next = () => targets[turn++ % VARIANTS];
  const closest = (target: Id) => table.closest(target, REPLY_NODES, isGood);
  const sorted = (target: Id) =>
    contacts.filter(isGood).sort((x, y) => compareDistance(x.id, y.id, target))
      .slice(0, REPLY_NODES);
  for (const target of targets.slice(0, 100)) {
    const wrong = sorted(target).some((contact, i) => closest(target)[i] !== contact);
    if (wrong) throw new Error("closest and the sorted table disagree");
  }
  const [ours, bySorting] = nanoseconds([() => closest(next()), () => sorted(next())]);
  printTable(
    `The ${REPLY_NODES} good contacts closest to a random target, of ${contacts.length} in the table`,
    ["way", "ns", "a second", "ratio"],
    [
      ["routing table", ours.toFixed(0), (1e9 / ours).toFixed(0), "1.0"],
      [
        "sorting all",
        bySorting.toFixed(0),
        (1e9 / bySorting).toFixed(0),
        (bySorting / ours).toFixed(1),
      ],
    ],
  );
}

function benchQueries({ node, item, sendTo }: FullNode, now: number): void {
  let replies = 0, bytes = 0;
  sendTo((datagram) => {
    replies++;
    bytes = datagram.length;
  });
  const serve = (method: Method, args: () => QueryArguments) => {
    const writer = new Writer(512);
    const queries = Array.from({ length: VARIANTS }, (_, i) => {
      const from = Endpoint.parse(`127.1.${i >> 8}.${i & 255}`, 6881)!;
      writeQuery(writer, method, i, randomId(), 0, true, args());
      padQuery(writer, entitledBytes({ method, args: args(), to: from }));
      return { datagram: writer.done().slice(), from };
    });
    let turn = 0;
    return () => {
      const { datagram, from } = queries[turn++ % VARIANTS];
      node.receive(datagram, from, now);
    };
  };
  const jobs: Record<string, () => void> = {
    ping: serve("ping", () => ({})),
    find_node: serve("find_node", () => ({ target: randomId() })),
    get_peers: serve("get_peers", () => ({ infoHash: randomId() })),
    "get, item held": serve("get", () => ({ target: item })),
    "get, item not held": serve("get", () => ({ target: randomId() })),
  };
  const times = nanoseconds(Object.values(jobs));
  const rows = Object.entries(jobs).map(([name, job], i) => {
    const before = replies;
    job();
    if (replies !== before + 1) throw new Error(`${name} was not answered`);
    return [name, `${bytes}`, times[i].toFixed(0), (1e9 / times[i]).toFixed(0)];
  });
  printTable(
    "One query served by the node, from datagram to datagram, without a socket",
    ["query", "reply bytes", "ns", "a second"],
    rows,
  );
}
