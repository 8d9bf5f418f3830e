// The node without its socket: the closest contacts of a full table, and whole queries served.

import { Writer } from "../src/krpc/bencode.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { compareDistance, type Id } from "../src/krpc/id.ts";
import { type Method, type QueryArguments, writeQuery } from "../src/krpc/message.ts";
import { REPLY_NODES } from "../src/dht/responder.ts";
import { fullNode, randomId } from "./full_node.ts";
import { nanoseconds, printTable } from "./measure.ts";

/** Targets and queries that take turns: one alone would be learned by the processor's branch predictor. */
const VARIANTS = 1024;

export async function benchCore(): Promise<void> {
  const now = performance.now();
  const { node, item, sendTo } = await fullNode(now);
  benchClosest();
  benchQueries();

  function benchClosest(): void {
    const table = node.tables[4]!;
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

  function benchQueries(): void {
    let replies = 0, bytes = 0;
    sendTo((datagram) => {
      replies++;
      bytes = datagram.length;
    });
    const serve = (method: Method, args: () => QueryArguments) => {
      const writer = new Writer(512);
      const queries = Array.from({ length: VARIANTS }, (_, i) => {
        writeQuery(writer, method, i, randomId(), 0, true, args());
        const from = Endpoint.parse(`127.1.${i >> 8}.${i & 255}`, 6881)!;
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
}
