// A network of real nodes behind every kind of NAT: each node finds out its kind of NAT, works as a client, and can be
// reached by every other node. NATLAB_TABLE names a file for the table of docs/nat.md.

import assert from "node:assert/strict";
import { isSecureId } from "../../src/dht/routing/secure_id.ts";
import { Endpoint } from "../../src/krpc/endpoint.ts";
import { Id } from "../../src/krpc/id.ts";
import { type Kind, Lab, type Node, type Site } from "./lab.ts";

/** The rows of the table. `mapped` is Linux's NAT with miniupnpd. */
const ROWS = [
  "public",
  "full-cone",
  "restricted",
  "port-restricted",
  "linux",
  "short-timeout",
  "double",
  "firewall",
  "mapped",
  "symmetric",
] as const;

type Row = typeof ROWS[number];

/** Expected `nat.type` of each row. */
const TYPES: Record<Row, string> = {
  "public": "none",
  "full-cone": "endpoint_independent",
  "restricted": "endpoint_independent",
  "port-restricted": "endpoint_independent",
  "linux": "endpoint_independent",
  "short-timeout": "endpoint_independent",
  "double": "endpoint_independent",
  "firewall": "none",
  "mapped": "endpoint_independent",
  "symmetric": "symmetric",
};

/** The rows that strangers can reach. */
const REACHABLE: readonly Row[] = ["public", "full-cone", "mapped"];

/** Rows with a public address: these nodes wait two minutes for queries before they ask for probes. */
const SURE_LATE: readonly Row[] = ["firewall"];

/** Together with the other reachable nodes, more than the ten voters that bind an id to an address (BEP 42). */
const PUBLIC_NODES = 9;

/** Pairs that meet at a time. With more, two processors would be the bottleneck. */
const AT_A_TIME = 5;

/** Nodes behind two routers of one kind. */
interface Member {
  readonly row: Row;
  readonly site: Site;
  readonly nodes: Node[];
}

interface Cell {
  readonly via: string;
  readonly seconds: number;
  readonly packets: number;
}

Deno.test("nodes behind every kind of NAT are one network", async (t) => {
  await using lab = await Lab.open();
  const { nodes: publicNodes, bootstrap } = await lab.publicNodes(PUBLIC_NODES);
  const members = (row: Row) => memberOf(lab, row, bootstrap);
  const [askers, asked] = await Promise.all([
    Promise.all(ROWS.map(members)),
    Promise.all(ROWS.map(members)),
  ]);
  const all = [...askers, ...asked].flatMap(({ row, site, nodes }) =>
    nodes.map((node) => ({ row, site, node }))
  );
  const becomeSure = (isLate: boolean) =>
    Promise.all(all.map(async ({ row, site, node }) => {
      if (SURE_LATE.includes(row) !== isLate) return;
      const { nat } = await node.until(
        "sure whether strangers reach it",
        ({ nat }) =>
          nat.type === TYPES[row] && nat.reachable === REACHABLE.includes(row) &&
          (nat.reachable || nat.introducers > 0),
        isLate ? 200_000 : 60_000,
      );
      assert.equal(nat.external_address.split(":")[0], site.external, row);
      assert.equal(nat.read_only, !REACHABLE.includes(row), row);
    }));
  const table = new Map<string, Cell>();
  const meet = async (isLate: boolean) => {
    // Ids change when nodes learn their addresses (BEP 42).
    await Promise.all(all.map(({ node }) => node.stats()));
    const pairs = ROWS.flatMap((_, shift) =>
      askers.map((asker, i) => [asker, asked[(i + shift) % asked.length]] as const)
    ).filter((pair) => pair.some(({ row }) => SURE_LATE.includes(row)) === isLate);
    for (let i = 0; i < pairs.length; i += AT_A_TIME) {
      await Promise.all(
        pairs.slice(i, i + AT_A_TIME).map(async ([asker, asked]) => {
          table.set(`${asker.row} ${asked.row}`, await reach(nextOf(asker), nextOf(asked)));
        }),
      );
    }
  };

  await t.step(
    "each node finds out its address, its kind of NAT, and whether strangers can reach it",
    async () => {
      await becomeSure(false);
    },
  );

  await t.step("each node takes an id that fits its address", async () => {
    await Promise.all(all.map(({ node }) =>
      node.until(
        "bound to its address",
        ({ node_id, nat }) => isSecure(node_id, nat.external_address),
        200_000,
      )
    ));
    // Hidden nodes are registered under the new id, and other nodes know the reachable ones by it.
    await becomeSure(false);
  });

  await t.step("each node stores, fetches, finds and watches", async () => {
    await Promise.all(
      all.map(({ node }, i) => worksAsClient(node, all[(i + 1) % all.length].node)),
    );
  });

  await t.step("each node reaches every other node", async () => {
    await meet(false);
    await becomeSure(true);
    await meet(true);
    const text = tableOf(table);
    console.log(text);
    const file = Deno.env.get("NATLAB_TABLE");
    if (file) await Deno.writeTextFile(file, text);
    for (const [pair, { via }] of table) {
      assert.ok(["direct", "punched", "relayed"].includes(via), `${pair}: ${via}`);
      const isHard = pair === "symmetric symmetric";
      assert.ok(isHard || via !== "relayed", `${pair}: relayed`);
    }
  });

  await t.step("no routing table holds a node that strangers can't reach", async () => {
    // A firewall passes packets from addresses that the node sent to minutes ago. A node behind a firewall may thus
    // have changed its state meanwhile.
    const readOnly = await Promise.all(all.map(async ({ row, node }) => {
      const { nat } = await node.stats();
      return SURE_LATE.includes(row) ? nat.read_only : !REACHABLE.includes(row);
    }));
    const unreachable = new Set(all.filter((_, i) => readOnly[i]).map(({ node }) => node.id));
    const late = new Set(
      all.filter(({ row }) => SURE_LATE.includes(row)).map(({ node }) => node.id),
    );
    const deadline = Date.now() + 120_000;
    for (const node of [...publicNodes, ...all.map(({ node }) => node)]) {
      for (;;) {
        const { body } = await node.request("/network/peers?limit=500");
        // A node that counted as reachable at first leaves a table after three unanswered checks in a row. Hidden nodes
        // check only every five minutes, because nobody else uses their tables.
        const bad = body.peers.filter((peer: { node_id: string; health: string }) =>
          unreachable.has(peer.node_id) &&
          (!late.has(peer.node_id) || (peer.health === "healthy" && !unreachable.has(node.id)))
        );
        if (bad.length === 0) break;
        if (Date.now() > deadline) {
          const standing = all.filter((one) =>
            bad.some((peer: { node_id: string }) => peer.node_id === one.node.id)
          ).map(async (one) => [one.row, (await one.node.stats()).nat]);
          const told = JSON.stringify([bad, await Promise.all(standing)]);
          assert.fail(`${node.machine.ns}: ${told}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    }
  });
});

function isSecure(id: string, address: string | null): boolean {
  const [host, port] = (address ?? "").split(":");
  const endpoint = Endpoint.parse(host, Number(port));
  return endpoint !== undefined && isSecureId(Id.parse(id)!, endpoint);
}

async function memberOf(lab: Lab, row: Row, args: readonly string[]): Promise<Member> {
  const kind: Kind = row === "mapped" ? "linux" : row;
  // Meeting a node behind a symmetric NAT needs many packets, so a node does it only a few times a minute.
  const hosts = row === "symmetric" ? 3 : 1;
  const site = await lab.site(kind, { hosts, ...(row === "mapped" ? { upnp: {} } : {}) });
  return { row, site, nodes: await Promise.all(site.hosts.map((host) => host.start(args))) };
}

/** The nodes of a member are used in turn. */
function nextOf({ nodes }: Member): Node {
  nodes.push(nodes.shift()!);
  return nodes[0];
}

/** One node pings another that it has not met before. */
async function reach(from: Node, to: Node): Promise<Cell> {
  const before = await from.packetsSent() + await to.packetsSent();
  const { status, body, seconds } = await from.request(`/network/ping/${to.id}`);
  const packets = await from.packetsSent() + await to.packetsSent() - before;
  return { via: status === 200 ? body.via : `${status}`, seconds, packets };
}

/** The node stores a value, another node reads it, and a watcher gets its next version. */
async function worksAsClient(node: Node, other: Node): Promise<void> {
  const text = `from ${node.id}`;
  const store = ["-X", "POST", "-H", "content-type: text/plain", "--data"];
  const { status, body } = await node.request("/network/store?key=here", [...store, text]);
  assert.equal(status, 201, JSON.stringify(body));
  const { hash } = body;
  const watching = node.machine.printed(
    "curl",
    "-sN",
    "--max-time",
    "40",
    "-H",
    "accept: text/event-stream",
    node.url(`/data/${hash}`),
  );
  const fetched = await other.request(`/data/${hash}`);
  assert.equal(fetched.status, 200, `${other.machine.ns}: ${JSON.stringify(fetched.body)}`);
  assert.equal(fetched.body, text);
  const found = await node.request(`/network/find/${hash}`);
  assert.ok(found.body.nodes.length > 0);
  const again = await node.request("/network/store?key=here", [...store, `${text} again`]);
  assert.equal(again.body.seq, 2);
  assert.match(await watching, /"seq":2/);
}

/** A letter for the path, the seconds until the answer, and the packets of both nodes meanwhile. */
function tableOf(table: ReadonlyMap<string, Cell>): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const cell = ({ via, seconds, packets }: Cell) => `${via[0]} ${seconds.toFixed(2)} ${packets}`;
  return line(["asks \\ asked", ...ROWS]) + line(["---", ...ROWS.map(() => "---")]) +
    ROWS.map((asker) =>
      line([asker, ...ROWS.map((asked) => cell(table.get(`${asker} ${asked}`)!))])
    ).join("");
}
