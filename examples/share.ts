// Stores a file on the network or fetches one: share.ts put FILE, share.ts get HASH FILE.

const api = Deno.env.get("DMNODE_API") ?? "http://127.0.0.1:8080";
const token = Deno.env.get("API_TOKEN");
const headers: HeadersInit = token ? { authorization: `Bearer ${token}` } : {};

/** Sends a request. Throws the detail of the problem document (RFC 9457) if the node refuses it. */
async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(`${api}${path}`, {
    ...init,
    headers: { ...headers, ...init.headers },
  });
  if (response.ok) return response;
  const { detail, title } = await response.json();
  throw new Error(detail ?? title);
}

const [command, name, file] = Deno.args;
if (command === "put" && name !== undefined) {
  // The file is streamed: the node stores a large value while it receives it.
  const { readable } = await Deno.open(name);
  const type = { "content-type": "application/octet-stream" };
  const init = { method: "POST", body: readable, headers: type };
  const { hash } = await (await ask("/network/store", init)).json();
  console.log(hash);
} else if (command === "get" && name !== undefined && file !== undefined) {
  const { body } = await ask(`/data/${name}`);
  await Deno.writeFile(file, body ?? new Uint8Array());
} else {
  console.error("Usage: share.ts put FILE | share.ts get HASH FILE");
  Deno.exit(2);
}
