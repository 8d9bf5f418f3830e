// UPnP's Internet Gateway Device, versions 1 and 2: its services, their actions, and routers that offer them.

import { Endpoint } from "../../krpc/endpoint.ts";
import { exchange } from "./http.ts";
import {
  type Asked,
  type Checked,
  clean,
  endpointOf,
  type Lease,
  LEASE_S,
  type MappingHost,
  MIN_EXTERNAL_PORT,
  type Router,
  type Wanted,
} from "./router.ts";
import { type Location, parseLocation } from "./ssdp.ts";
import { escapeXml, leavesOf, partsOf } from "./xml.ts";

/** Services of one router that are looked at. */
const MAX_SERVICES = 8;

/** External ports that are tried where others have the one that we would like. */
const PORTS_TRIED = 4;

/** The mapping's name in the router's list, for its owner. */
const DESCRIPTION = "dmnode";

/** What a router offers to control. */
export interface Service {
  readonly type: string;
  readonly control: Location;
}

/** The services of a description that can map ports, in the order in which they are to be tried. */
export function mappingServices(description: string, location: Location, family: 4 | 6): Service[] {
  const services: Service[] = [];
  let base: Location | undefined = location, type = "", control = "";
  for (const part of partsOf(description)) {
    if (part.kind === "leaf" && part.name === "URLBase" && part.text !== "") {
      base = parseLocation(part.text, location);
    } else if (part.kind === "start" && part.name === "service") {
      type = control = "";
    } else if (part.kind === "leaf" && part.name === "serviceType") type = part.text;
    else if (part.kind === "leaf" && part.name === "controlURL") control = part.text;
    else if (part.kind === "end" && part.name === "service") {
      const at = parseLocation(control, base);
      // The router itself, and nobody whom it names.
      const isItsOwn = at?.server.sameAddress(location.server);
      if (isItsOwn && rankOf(type, family) >= 0 && services.length < MAX_SERVICES) {
        services.push({ type, control: at! });
      }
    }
  }
  return services.sort((x, y) => rankOf(x.type, family) - rankOf(y.type, family));
}

const SERVICE_TYPES = {
  4: ["WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1"],
  6: ["WANIPv6FirewallControl:1"],
} as const;

function rankOf(type: string, family: 4 | 6): number {
  return SERVICE_TYPES[family].findIndex((name) => type === `urn:schemas-upnp-org:service:${name}`);
}

/** Fetches a router's description; its routers, the best first. */
export async function describedRouters(
  location: Location,
  wanted: Wanted,
  host: MappingHost,
): Promise<Router[]> {
  const { family } = wanted.internal, { server, path } = location;
  if (!host.allows(server)) return [];
  const response = await exchange({ server, method: "GET", path }, host.clock);
  if (response?.status !== 200) return [];
  return mappingServices(response.body, location, family).map((service) =>
    family === 4 ? new UpnpRouter(service, wanted, host) : new UpnpFirewall(service, wanted, host)
  );
}

type Answer =
  | {
    readonly outcome: "done";
    readonly values: Map<string, string>;
    readonly localAddress: string;
  }
  | { readonly outcome: "error"; readonly code: number; readonly text: string }
  | { readonly outcome: "silent" };

type Arguments = Readonly<Record<string, string | number>>;

/** Calls an action of a service (UPnP Device Architecture 1.1, section 3.2). */
async function call(
  { type, control }: Service,
  action: string,
  given: Arguments,
  host: MappingHost,
): Promise<Answer> {
  if (!host.allows(control.server)) return { outcome: "silent" };
  const values = Object.entries(given).map(([name, value]) =>
    `<${name}>${escapeXml(String(value))}</${name}>`
  );
  const body = '<?xml version="1.0"?>\r\n' +
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ' +
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>' +
    `<u:${action} xmlns:u="${type}">${values.join("")}</u:${action}></s:Body></s:Envelope>\r\n`;
  const response = await exchange({
    server: control.server,
    method: "POST",
    path: control.path,
    headers: { "Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": `"${type}#${action}"` },
    body,
  }, host.clock);
  if (response === undefined) return { outcome: "silent" };
  const leaves = leavesOf(response.body);
  if (response.status === 200) {
    return { outcome: "done", values: leaves, localAddress: response.localAddress };
  }
  const code = Number(leaves.get("errorCode") ?? NaN);
  const text = leaves.get("errorDescription") ?? `HTTP ${response.status}`;
  return { outcome: "error", code, text: clean(text) };
}

function refusal(action: string, answer: Exclude<Answer, { outcome: "done" }>): Asked {
  if (answer.outcome === "silent") return { outcome: "silent", reason: `no answer to ${action}` };
  const code = Number.isNaN(answer.code) ? "" : ` ${answer.code}`;
  return { outcome: "refused", reason: `${action}: error${code} ${answer.text}` };
}

/** A router asked through WANIPConnection or WANPPPConnection. */
export class UpnpRouter implements Router {
  readonly protocol = "upnp";
  readonly gateway: string;
  readonly #service: Service;
  readonly #wanted: Wanted;
  readonly #host: MappingHost;
  /** False where the router does not tell of a mapping that it has just made: then asking proves nothing. */
  #tells = true;
  /** It takes none but leases without an end. */
  #isPermanent = false;

  constructor(service: Service, wanted: Wanted, host: MappingHost) {
    this.#service = service;
    this.#wanted = wanted;
    this.#host = host;
    this.gateway = service.control.server.host;
  }

  async map(lease?: Lease): Promise<Asked> {
    const address = await this.#call("GetExternalIPAddress", {});
    if (address.outcome !== "done") return refusal("GetExternalIPAddress", address);
    const text = address.values.get("NewExternalIPAddress") ?? "";
    const external = Endpoint.parse(text, 1);
    if (external?.family !== 4 || external.scope === "none") {
      return { outcome: "refused", reason: "it has no external address" };
    }
    // As this router sees us: with several networks, it may not be the address that was searched from.
    const internal = endpointOf(address.localAddress, this.#wanted.internal.port);
    let port = lease?.external.port ?? internal.port, last: Asked | undefined;
    if (port < MIN_EXTERNAL_PORT) port = this.#anyPort();
    for (let i = 0; i < PORTS_TRIED; i++) {
      const result = await this.#add(port, internal);
      if (typeof result !== "number") {
        last = result.asked;
        if (!result.isTaken) return last;
        port = this.#anyPort();
        continue;
      }
      const { protocol, gateway } = this;
      this.#tells = (await this.#entry(result, internal)) === "ours";
      return {
        outcome: "leased",
        lease: {
          protocol,
          gateway,
          internal,
          external: external.withPort(result),
          seconds: this.#isPermanent ? 0 : LEASE_S,
        },
      };
    }
    return last!;
  }

  /** Adds a mapping; the external port that it has then, or why not, and whether another port may do. */
  async #add(
    port: number,
    internal: Endpoint,
  ): Promise<number | { readonly asked: Asked; readonly isTaken: boolean }> {
    const given = (seconds: number): Arguments => ({
      NewRemoteHost: "",
      NewExternalPort: port,
      NewProtocol: "UDP",
      NewInternalPort: internal.port,
      NewInternalClient: internal.host,
      NewEnabled: 1,
      NewPortMappingDescription: DESCRIPTION,
      NewLeaseDuration: seconds,
    });
    const owner = await this.#entry(port, internal);
    if (owner === "theirs") {
      const reason = `external port ${port} is another's`;
      return { asked: { outcome: "refused", reason }, isTaken: true };
    }
    if (owner !== "ours" && this.#service.type.endsWith(":2") && !this.#isPermanent) {
      const answer = await this.#call("AddAnyPortMapping", given(LEASE_S));
      const reserved = answer.outcome === "done" ? answer.values.get("NewReservedPort") ?? "" : "";
      if (/^\d{1,5}$/.test(reserved) && Number(reserved) > 0 && Number(reserved) < 65536) {
        return Number(reserved);
      }
      // Some that say they are version 2 don't have this action, or not for everybody.
    }
    let answer = await this.#call("AddPortMapping", given(this.#isPermanent ? 0 : LEASE_S));
    if (answer.outcome === "error" && !this.#isPermanent && LEASE_ERRORS.includes(answer.code)) {
      const retried = await this.#call("AddPortMapping", given(0));
      if (retried.outcome === "done") this.#isPermanent = true;
      answer = retried;
    }
    if (answer.outcome === "done") return port;
    const isTaken = answer.outcome === "error" && PORT_ERRORS.includes(answer.code);
    return { asked: refusal("AddPortMapping", answer), isTaken };
  }

  /** Whose the external port is, as far as the router tells. */
  async #entry(port: number, internal: Endpoint): Promise<"ours" | "theirs" | "none" | "silent"> {
    const answer = await this.#call("GetSpecificPortMappingEntry", {
      NewRemoteHost: "",
      NewExternalPort: port,
      NewProtocol: "UDP",
    });
    if (answer.outcome !== "done") return answer.outcome === "error" ? "none" : "silent";
    const { values } = answer;
    const client = Endpoint.parse(values.get("NewInternalClient") ?? "", internal.port);
    // Some answer with an empty entry where there is none.
    if (client === undefined || client.scope === "none") return "none";
    const isOurs = client.equals(internal) &&
      Number(values.get("NewInternalPort")) === internal.port;
    return isOurs ? "ours" : "theirs";
  }

  async check({ external, internal }: Lease): Promise<Checked> {
    const address = await this.#call("GetExternalIPAddress", {});
    if (address.outcome === "silent") return "silent";
    const text = address.outcome === "done"
      ? address.values.get("NewExternalIPAddress")
      : undefined;
    const isSame = Endpoint.parse(text ?? "", 1)?.sameAddress(external) === true;
    if (!isSame) return "lost";
    if (!this.#tells) return "kept";
    const owner = await this.#entry(external.port, internal);
    return owner === "silent" ? "silent" : owner === "ours" ? "kept" : "lost";
  }

  async release({ external }: Lease): Promise<void> {
    await this.#call("DeletePortMapping", {
      NewRemoteHost: "",
      NewExternalPort: external.port,
      NewProtocol: "UDP",
    });
  }

  #anyPort(): number {
    return MIN_EXTERNAL_PORT + Math.floor(this.#host.random() * (65536 - MIN_EXTERNAL_PORT));
  }

  #call(action: string, given: Arguments): Promise<Answer> {
    return call(this.#service, action, given, this.#host);
  }

  close(): void {}
}

/**
 * With these a router means, or may mean, that it knows no leases that end: OnlyPermanentLeasesSupported
 * (WANIPConnection:2, section 2.5.16), Invalid Args, Action Failed.
 */
const LEASE_ERRORS: readonly number[] = [725, 402, 501];

/** With these another external port may do: ConflictInMappingEntry, ConflictWithOtherMechanisms, Action Failed. */
const PORT_ERRORS: readonly number[] = [718, 729, 501];

/** NoSuchEntry (WANIPv6FirewallControl:1, section 2.5). */
const NO_SUCH_PINHOLE = 704;

/** A router whose IPv6 firewall lets packets in through WANIPv6FirewallControl. */
export class UpnpFirewall implements Router {
  readonly protocol = "upnp";
  readonly gateway: string;
  readonly #service: Service;
  readonly #wanted: Wanted;
  readonly #host: MappingHost;
  #pinhole: string | undefined;

  constructor(service: Service, wanted: Wanted, host: MappingHost) {
    this.#service = service;
    this.#wanted = wanted;
    this.#host = host;
    this.gateway = service.control.server.host;
  }

  async map(lease?: Lease): Promise<Asked> {
    const { internal } = this.#wanted;
    if (lease !== undefined && this.#pinhole !== undefined) {
      const given = { UniqueID: this.#pinhole, NewLeaseTime: LEASE_S };
      const { outcome } = await this.#call("UpdatePinhole", given);
      if (outcome === "done") return { outcome: "leased", lease };
    }
    const answer = await this.#call("AddPinhole", {
      RemoteHost: "",
      RemotePort: 0,
      InternalClient: internal.host,
      InternalPort: internal.port,
      Protocol: 17,
      LeaseTime: LEASE_S,
    });
    if (answer.outcome !== "done") return refusal("AddPinhole", answer);
    const id = answer.values.get("UniqueID") ?? "";
    if (!/^\d{1,5}$/.test(id)) return { outcome: "refused", reason: "it gives the pinhole no id" };
    this.#pinhole = id;
    const { protocol, gateway } = this;
    return {
      outcome: "leased",
      lease: { protocol, gateway, internal, external: internal, seconds: LEASE_S },
    };
  }

  async check(): Promise<Checked> {
    const answer = await this.#call("GetPinholePackets", { UniqueID: this.#pinhole ?? "" });
    if (answer.outcome === "silent") return "silent";
    const isGone = answer.outcome === "error" && answer.code === NO_SUCH_PINHOLE;
    return isGone ? "lost" : "kept";
  }

  async release(): Promise<void> {
    if (this.#pinhole !== undefined) {
      await this.#call("DeletePinhole", { UniqueID: this.#pinhole });
    }
  }

  #call(action: string, given: Arguments): Promise<Answer> {
    return call(this.#service, action, given, this.#host);
  }

  close(): void {}
}
