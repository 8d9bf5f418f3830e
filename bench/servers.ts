// The two servers that a node is measured against: `echo` sends every datagram back, `stub` answers each
// with the same bytes. They do the least that a server on this socket API can do, so their rates bound a node's.
//
// deno run --allow-net servers.ts HOST echo | stub REPLY
// REPLY is base64. Prints one line, {"port": N}, when it is ready.

/** Bytes of a query after its transaction id of four bytes: `1:y1:qe`. */
const AFTER_TID = 7;

const [hostname, kind, reply = ""] = Deno.args;

const respond = kind === "stub"
  ? stub(Uint8Array.from(atob(reply), (c) => c.charCodeAt(0)))
  : (query: Uint8Array) => query;
const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
console.log(JSON.stringify({ port: (socket.addr as Deno.NetAddr).port }));

const buffer = new Uint8Array(2048);
const sent = () => {};
// One receive at a time and sends that are not awaited: the fastest way through this API. The buffers can be used again
// at once because a send with nothing queued before it takes its bytes during the call; only a socket's very first is
// queued, and that falls into the warm-up. A node that sends on its own account needs a buffer for each send.
for (;;) {
  const [query, from] = await socket.receive(buffer);
  socket.send(respond(query), from).then(sent, sent);
}

/** Answers with `reply`, in which the transaction id is replaced by the query's. */
function stub(reply: Uint8Array): (query: Uint8Array) => Uint8Array {
  const tidAt = tidOffset(reply);
  return (query) => {
    const at = query.length - AFTER_TID - 4;
    for (let i = 0; i < 4; i++) reply[tidAt + i] = query[at + i];
    return reply;
  };
}

/** Where the last `1:t4:` of a reply ends: earlier ones could be part of a value. */
function tidOffset(reply: Uint8Array): number {
  const key = Uint8Array.from("1:t4:", (c) => c.charCodeAt(0));
  for (let at = reply.length - key.length; at >= 0; at--) {
    if (key.every((byte, i) => reply[at + i] === byte)) return at + key.length;
  }
  throw new Error("the reply has no transaction id of four bytes");
}
