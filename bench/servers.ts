// The two servers that a node is compared with: `echo` sends every datagram back, and `stub` answers each with the same
// bytes. They do the minimum on this socket API, so their rates are upper bounds for a node's.
//
// deno run --allow-net servers.ts HOST echo | stub REPLY
// REPLY is base64. Prints one line, {"port": N}, when it is ready.

/** Bytes of a query after its transaction id of four bytes: `1:v4:LT..1:y1:qe`. */
const AFTER_TID = 16;

const [hostname, kind, reply = ""] = Deno.args;

const respond = kind === "stub"
  ? stub(Uint8Array.from(atob(reply), (c) => c.charCodeAt(0)))
  : (query: Uint8Array) => query;
const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
console.log(JSON.stringify({ port: (socket.addr as Deno.NetAddr).port }));

const buffer = new Uint8Array(2048);
const sent = () => {};
// One receive at a time, and sends that are not awaited: the fastest use of this API. The buffers can be reused at once,
// because a send with an empty queue copies its bytes during the call. Only a socket's first send is queued, in the
// warm-up. A real node needs a buffer for each send.
for (;;) {
  const [query, from] = await socket.receive(buffer);
  socket.send(respond(query), from).then(sent, sent);
}

/** Answers with `reply`, with the query's transaction id. */
function stub(reply: Uint8Array): (query: Uint8Array) => Uint8Array {
  const tidAt = tidOffset(reply);
  return (query) => {
    const at = query.length - AFTER_TID - 4;
    for (let i = 0; i < 4; i++) reply[tidAt + i] = query[at + i];
    return reply;
  };
}

/** The end of a reply's last `1:t4:`. Earlier ones could be part of a value. */
function tidOffset(reply: Uint8Array): number {
  const key = Uint8Array.from("1:t4:", (c) => c.charCodeAt(0));
  for (let at = reply.length - key.length; at >= 0; at--) {
    if (key.every((byte, i) => reply[at + i] === byte)) return at + key.length;
  }
  throw new Error("the reply has no transaction id of four bytes");
}
