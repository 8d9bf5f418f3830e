// A network of hyperdht nodes (on dht-rpc) in one process, as its own test network makes them. Run with Node.

import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
// @ts-ignore: installed for Node, by npm in this folder
import DHT from "hyperdht";
import { nearest, serve } from "./serve.mjs";

const HOST = "127.0.0.1";

/** Nodes that join at a time. */
const JOINING = 4;

class Network {
  #nodes = [];
  #silent = new Set();
  #packets = 0;

  async start({ count }) {
    if (this.#nodes.length === 0) await this.#add([]);
    const bootstrap = [{ host: HOST, port: this.port() }];
    const addInTurn = async () => {
      while (this.#nodes.length < count) await this.#add(bootstrap);
    };
    await Promise.all(Array.from({ length: JOINING }, addInTurn));
  }

  /** Where others can join. */
  port() {
    return this.#nodes[0].address().port;
  }

  packets() {
    return this.#packets;
  }

  silence({ nodes }) {
    for (const i of nodes) {
      this.#silent.add(i);
      for (const socket of sockets(this.#nodes[i])) {
        socket.removeAllListeners("message");
        socket.send = socket.trySend = () => {};
      }
    }
  }

  lookup({ node }) {
    const target = randomBytes(32);
    const ids = this.#nodes.map(({ table }) => table.id);
    const best = ids[nearest(ids, target, (i) => i !== node && !this.#silent.has(i))];
    return this.#timed(node, async (dht) => {
      const query = dht.findNode(target);
      await query.finished();
      return query.closestReplies.some(({ from }) => from.id !== null && best.equals(from.id));
    });
  }

  async put({ node, value }) {
    let key;
    const timed = await this.#timed(node, async (dht) => {
      const { hash, closestNodes } = await dht.immutablePut(Buffer.from(value));
      key = hash.toString("hex");
      return closestNodes.length > 0;
    });
    return { ...timed, key };
  }

  get({ node, key, value }) {
    return this.#timed(node, async (dht) => {
      const found = await dht.immutableGet(Buffer.from(key, "hex"));
      return found !== null && `${found.value}` === value;
    });
  }

  async #add(bootstrap) {
    const dht = new DHT({ ephemeral: false, firewalled: false, bootstrap, port: 0, host: HOST });
    this.#nodes.push(dht);
    await dht.bind();
    for (const socket of sockets(dht)) {
      for (const name of ["send", "trySend"]) {
        const send = socket[name];
        socket[name] = (...args) => {
          this.#packets++;
          return send.apply(socket, args);
        };
      }
    }
    await dht.fullyBootstrapped();
  }

  async #timed(node, run) {
    const dht = this.#nodes[node];
    const sent = () => dht.stats.requests.total + dht.stats.requests.retries;
    const queries = sent(), start = performance.now();
    const ok = await run(dht);
    return { ok, ms: performance.now() - start, queries: sent() - queries };
  }
}

function sockets({ io }) {
  return [io.serverSocket, io.clientSocket];
}

serve(new Network());
