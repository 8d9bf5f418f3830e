// Hosts bittorrent-dht nodes for the interoperability suite: JSON requests on stdin, replies on stdout.
// Runs with Node, because the package was written for Node's dgram.

import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import process from "node:process";
import { createInterface } from "node:readline";
// @ts-ignore: installed for Node, by npm in this folder
import DHT from "bittorrent-dht";

// RFC 8410: the bytes before a raw key in the PKCS #8 and SPKI forms that node:crypto reads.
const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI_ED25519 = Buffer.from("302a300506032b6570032100", "hex");

const HOST = "127.0.0.1";

/** Running nodes by number. Numbers are never reused. */
const nodes = new Map();
let nextNode = 0;

/** Warnings of the nodes, mostly about packets that they could not read. */
const warnings = [];

function keyPair(seedHex) {
  const seed = Buffer.from(seedHex, "hex");
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519, seed]),
    format: "der",
    type: "pkcs8",
  });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return { privateKey, publicKey: spki.subarray(SPKI_ED25519.length) };
}

function verifyEd25519(signature, message, publicKey) {
  if (signature.length !== 64 || publicKey.length !== 32) return false;
  const key = createPublicKey({
    key: Buffer.concat([SPKI_ED25519, publicKey]),
    format: "der",
    type: "spki",
  });
  return verify(null, message, key, signature);
}

function parseAddress(address) {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

function optionalBytes(hex) {
  return hex ? Buffer.from(hex, "hex") : undefined;
}

function describe(number) {
  const dht = nodes.get(number);
  return {
    node: number,
    nodeId: dht.nodeId.toString("hex"),
    address: `${HOST}:${dht.address().port}`,
  };
}

function nodeOf(request) {
  const dht = nodes.get(request.node ?? 0);
  if (!dht) throw new Error(`no node ${request.node}`);
  return dht;
}

/** Sends one query to one address, outside of any lookup or table. */
function query(dht, address, q, args) {
  return new Promise((resolve, reject) => {
    const message = { q, a: { id: dht.nodeId, ...args } };
    dht._rpc.query(parseAddress(address), message, (error, reply) => {
      if (error) reject(error);
      else resolve(reply.r);
    });
  });
}

function compactNodes(bytes) {
  const found = [];
  for (let at = 0; at + 26 <= bytes.length; at += 26) {
    const host = [...bytes.subarray(at + 20, at + 24)].join(".");
    found.push({
      nodeId: bytes.subarray(at, at + 20).toString("hex"),
      address: `${host}:${bytes.readUInt16BE(at + 24)}`,
    });
  }
  return found;
}

function found(value) {
  if (!value) return { found: false };
  return {
    found: true,
    value: value.v.toString("hex"),
    seq: value.seq ?? null,
    publicKey: value.k ? value.k.toString("hex") : null,
    signature: value.sig ? value.sig.toString("hex") : null,
  };
}

function get(dht, target, salt) {
  // get() prefers the node's own store, and falls back to it even with `cache: false`. A test of
  // the wire needs the values of other nodes.
  const name = target.toString("hex");
  const held = dht._values.remove(name);
  return new Promise((resolve, reject) => {
    dht.get(target, { cache: false, salt }, (error, value) => {
      if (held && !dht._values.peek(name)) dht._values.set(name, held);
      if (error) reject(error);
      else resolve(found(value));
    });
  });
}

function put(dht, options) {
  return new Promise((resolve, reject) => {
    dht.put(options, (error, hash, count) => {
      if (error) reject(error);
      else resolve({ hash: hash.toString("hex"), acknowledged: count });
    });
  });
}

const commands = {
  async start({ count = 1, ports = [], bootstrap = [], k }) {
    const started = [];
    for (let i = 0; i < count; i++) {
      const number = nextNode++;
      const dht = new DHT({
        // With an empty list, the package would use the public routers.
        bootstrap: bootstrap.length > 0 ? bootstrap : false,
        verify: verifyEd25519,
        k,
      });
      dht.on("warning", ({ message }) => warnings.push(message));
      await new Promise((resolve, reject) => {
        dht.once("error", reject);
        dht.listen(ports[i] ?? 0, HOST, resolve);
      });
      nodes.set(number, dht);
      if (!dht.ready) await new Promise((resolve) => dht.once("ready", resolve));
      started.push(describe(number));
    }
    return { nodes: started };
  },

  async stop({ node }) {
    const stopping = node === undefined ? [...nodes.keys()] : [node];
    for (const number of stopping) {
      const dht = nodes.get(number);
      nodes.delete(number);
      if (dht) await new Promise((resolve) => dht.destroy(resolve));
    }
    return {};
  },

  nodes() {
    return { nodes: [...nodes.keys()].map(describe) };
  },

  warnings() {
    return { warnings };
  },

  async ping(request) {
    const reply = await query(nodeOf(request), request.address, "ping", {});
    return { nodeId: reply.id.toString("hex") };
  },

  async find_node(request) {
    const reply = await query(nodeOf(request), request.address, "find_node", {
      target: Buffer.from(request.target, "hex"),
    });
    return {
      nodeId: reply.id.toString("hex"),
      nodes: compactNodes(reply.nodes ?? Buffer.alloc(0)),
    };
  },

  async announce(request) {
    const dht = nodeOf(request);
    const infoHash = Buffer.from(request.info_hash, "hex");
    const port = request.port ?? 0;
    await new Promise((resolve, reject) => {
      dht.announce(infoHash, port, (error) => error ? reject(error) : resolve());
    });
    // Port 0 is announced as `implied_port`.
    return { port: port || dht.address().port };
  },

  async get_peers(request) {
    const dht = nodeOf(request);
    const infoHash = Buffer.from(request.info_hash, "hex");
    const peers = new Set();
    const collect = (peer, hash, from) => {
      // A record without `from` is one of the node's own.
      if (from && hash.equals(infoHash)) peers.add(`${peer.host}:${peer.port}`);
    };
    dht.on("peer", collect);
    try {
      await new Promise((resolve, reject) => {
        dht.lookup(infoHash, (error) => error ? reject(error) : resolve());
      });
    } finally {
      dht.off("peer", collect);
    }
    return { peers: [...peers] };
  },

  put_immutable(request) {
    // `json`: a list or dictionary instead of a string.
    return put(nodeOf(request), { v: request.json ?? Buffer.from(request.value, "hex") });
  },

  async put_mutable(request) {
    const { privateKey, publicKey } = keyPair(request.seed);
    const stored = await put(nodeOf(request), {
      v: Buffer.from(request.value, "hex"),
      k: publicKey,
      salt: optionalBytes(request.salt),
      seq: request.seq,
      cas: request.cas,
      sign: (message) => sign(null, message, privateKey),
    });
    return { ...stored, publicKey: publicKey.toString("hex"), seq: request.seq };
  },

  get_immutable(request) {
    return get(nodeOf(request), Buffer.from(request.hash, "hex"));
  },

  get_mutable(request) {
    const salt = optionalBytes(request.salt);
    const target = createHash("sha1").update(Buffer.from(request.public_key, "hex"));
    if (salt) target.update(salt);
    return get(nodeOf(request), target.digest(), salt);
  },

  table(request) {
    const contacts = nodeOf(request).nodes.toArray().map((contact) => ({
      nodeId: contact.id.toString("hex"),
      address: `${contact.host}:${contact.port}`,
    }));
    return { size: contacts.length, nodes: contacts };
  },
};

async function serve(line) {
  const request = JSON.parse(line);
  let reply;
  try {
    const command = commands[request.cmd];
    if (!command) throw new Error(`unknown command ${request.cmd}`);
    reply = { ok: true, ...await command(request) };
  } catch (error) {
    reply = { ok: false, error: error.message, code: error.code ?? null };
  }
  process.stdout.write(`${JSON.stringify({ id: request.id, ...reply })}\n`);
}

createInterface({ input: process.stdin })
  .on("line", serve)
  // The test that started this process has ended.
  .on("close", () => process.exit(0));
