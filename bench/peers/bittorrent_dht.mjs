// A network of bittorrent-dht nodes in one process. Run with Node: its dgram is what the package was written for.

import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
// @ts-ignore: installed for Node, by npm in this folder
import DHT from "bittorrent-dht";
import { nearest, serve } from "./serve.mjs";

const HOST = "127.0.0.1";

/** Nodes that join at a time. */
const JOINING = 4;

class Network {
  #nodes = [];
  #silent = new Set();
  #packets = 0;
  /** Queries that each node has sent. */
  #queries = [];

  async start({ count }) {
    if (this.#nodes.length === 0) await this.#add(false);
    const bootstrap = [`${HOST}:${this.#nodes[0].address().port}`];
    const addInTurn = async () => {
      while (this.#nodes.length < count) await this.#add(bootstrap);
    };
    await Promise.all(Array.from({ length: JOINING }, addInTurn));
  }

  packets() {
    return this.#packets;
  }

  silence({ nodes }) {
    for (const i of nodes) {
      this.#silent.add(i);
      const { socket } = this.#nodes[i]._rpc.socket;
      socket.removeAllListeners("message");
      socket.send = () => {};
    }
  }

  lookup({ node }) {
    const dht = this.#nodes[node], target = randomBytes(20);
    const ids = this.#nodes.map(({ nodeId }) => nodeId);
    const best = ids[nearest(ids, target, (i) => i !== node && !this.#silent.has(i))];
    return this.#timed(node, async () => {
      await new Promise((resolve, reject) =>
        dht.lookup(target, (error) => error ? reject(error) : resolve())
      );
      // The lookup keeps the closest nodes that answered in a table of its own.
      const table = dht._tables.get(target.toString("hex"));
      return table.closest(target, 20).some(({ id }) => id.equals(best));
    });
  }

  async put({ node, value }) {
    let key;
    const timed = await this.#timed(
      node,
      () =>
        new Promise((resolve, reject) =>
          this.#nodes[node].put({ v: Buffer.from(value) }, (error, hash, acknowledged) => {
            if (error) return reject(error);
            key = hash.toString("hex");
            resolve(acknowledged > 0);
          })
        ),
    );
    return { ...timed, key };
  }

  get({ node, key, value }) {
    return this.#timed(node, () =>
      new Promise((resolve, reject) =>
        this.#nodes[node].get(
          Buffer.from(key, "hex"),
          (error, found) => error ? reject(error) : resolve(`${found?.v}` === value),
        )
      ));
  }

  async #add(bootstrap) {
    const dht = new DHT({ bootstrap });
    const i = this.#nodes.push(dht) - 1;
    this.#queries.push(0);
    // Of packets that came too late, for the most part.
    dht.on("warning", () => {});
    const rpc = dht._rpc.socket;
    const { socket } = rpc;
    const query = rpc.query, send = socket.send;
    rpc.query = (...args) => {
      this.#queries[i]++;
      return query.apply(rpc, args);
    };
    socket.send = (...args) => {
      this.#packets++;
      return send.apply(socket, args);
    };
    await new Promise((resolve, reject) => {
      dht.once("error", reject);
      dht.listen(0, HOST, resolve);
    });
    if (!dht.ready) await new Promise((resolve) => dht.once("ready", resolve));
  }

  async #timed(node, run) {
    const queries = this.#queries[node], start = performance.now();
    const ok = await run();
    return { ok, ms: performance.now() - start, queries: this.#queries[node] - queries };
  }
}

serve(new Network());
