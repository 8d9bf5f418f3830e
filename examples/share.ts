// Stores a file in the network, or fetches one: share.ts put FILE, share.ts get HASH FILE.

const api = Deno.env.get("DMNODE_API") ?? "http://127.0.0.1:8080";
const token = Deno.env.get("API_TOKEN");
const headers: HeadersInit = token ? { authorization: `Bearer ${token}` } : {};

/** The response, or the problem's own words (RFC 9457) as an error. */
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
  // The file is not read at once: a large value is stored while it is sent.
  const { readable } = await Deno.open(name);
  const type = { "content-type": "application/octet-stream" };
  const init = { method: "POST", body: readable, headers: type };
  const { hash } = await (await ask("/network/store", init)).json();
  console.log(hash);
} else if (command === "get" && name !== undefined && file !== undefined) {
  const { body } = await ask(`/data/${name}`);
  await Deno.writeFile(file, body ?? new Uint8Array());
} else {
  console.error("share.ts put FILE, or share.ts get HASH FILE");
  Deno.exit(2);
}
