// Maps ports on routers that implement UPnP's Internet Gateway Device, version 1 or 2.

import { Endpoint } from "../../krpc/endpoint.ts";
import {
  type CheckOutcome,
  endpointOf,
  type Lease,
  LEASE_S,
  leased,
  type MapOutcome,
  type MappingHost,
  MIN_EXTERNAL_PORT,
  type Router,
  type Wanted,
} from "./router.ts";
import type { Location } from "./ssdp.ts";
import {
  type Answer,
  type Arguments,
  call,
  describedServices,
  type Failure,
  type UpnpService,
} from "./upnp_service.ts";

/** Maximum number of external ports to try if other clients use the preferred port. */
const MAX_PORTS = 4;

/** The name of the mapping, which routers show to their owners. */
const DESCRIPTION = "dmnode";

/**
 * Errors that may mean that a router grants only permanent leases: OnlyPermanentLeasesSupported (WANIPConnection:2,
 * section 2.5.16), Invalid Args, Action Failed.
 */
const LEASE_ERRORS: readonly number[] = [725, 402, 501];

/** Errors after which to try another port: ConflictInMappingEntry, ConflictWithOtherMechanisms, Action Failed. */
const CONFLICT = 718, PORT_ERRORS: readonly number[] = [CONFLICT, 729, 501];

/** The error code NoSuchEntry (WANIPv6FirewallControl:1, section 2.5). */
const NO_SUCH_PINHOLE = 704;

/** Returns a router for each usable service in a UPnP description, the best first. */
export async function describedRouters(
  location: Location,
  wanted: Wanted,
  host: MappingHost,
): Promise<Router[]> {
  const { family } = wanted.internal;
  const UpnpDevice = family === 4 ? UpnpNat : UpnpFirewall;
  const services = await describedServices(location, family, host);
  return services.map((service) => new UpnpDevice(service, wanted, host));
}

/** A router reached through one of its UPnP services. */
abstract class UpnpRouter implements Router {
  readonly protocol = "upnp";

  constructor(
    protected readonly service: UpnpService,
    protected readonly wanted: Wanted,
    protected readonly host: MappingHost,
  ) {}

  get gateway(): string {
    return this.service.control.server.host;
  }

  abstract map(lease?: Lease): Promise<MapOutcome>;
  abstract check(lease: Lease): Promise<CheckOutcome>;
  abstract release(lease: Lease): Promise<void>;

  close(): void {}

  protected call(action: string, given?: Arguments): Promise<Answer> {
    return call(this.service, { action, given }, this.host);
  }
}

/** A router that maps IPv4 ports through WANIPConnection or WANPPPConnection. */
class UpnpNat extends UpnpRouter {
  /**
   * Whether the router lists our mapping after making it. If not, checks can't tell whether the mapping still exists,
   * and assume that it does.
   */
  #listsMappings = true;
  /** Whether the router grants only permanent leases. */
  #isPermanent = false;

  async map(lease?: Lease): Promise<MapOutcome> {
    const address = await this.call("GetExternalIPAddress");
    if (address.outcome !== "done") return address;
    const external = Endpoint.parse(address.values.get("NewExternalIPAddress") ?? "", 1);
    if (external?.family !== 4 || external.scope === "none") {
      return { outcome: "refused", reason: "it has no external address" };
    }
    // Use our address as the router sees it, which may differ from the address that the search used.
    const internal = endpointOf(address.localAddress, this.wanted.internal.port);
    const randomPort = () =>
      MIN_EXTERNAL_PORT + Math.floor(this.host.random() * (65536 - MIN_EXTERNAL_PORT));
    let port = lease?.external.port ?? internal.port;
    if (port < MIN_EXTERNAL_PORT) port = randomPort();
    for (let tries = 1;; tries++) {
      const added = await this.#add(port, internal);
      if (typeof added === "number") {
        this.#listsMappings = (await this.#owner(added, internal)) === "ours";
        const seconds = this.#isPermanent ? 0 : LEASE_S;
        return leased(this, { internal, external: external.withPort(added), seconds });
      }
      const isTaken = added.outcome === "refused" && PORT_ERRORS.includes(added.code);
      if (!isTaken || tries === MAX_PORTS) return added;
      port = randomPort();
    }
  }

  /** Adds a mapping, and returns its external port. */
  async #add(port: number, internal: Endpoint): Promise<number | Failure> {
    const given = (seconds: number): Arguments => ({
      ...entryOf(port),
      NewInternalPort: internal.port,
      NewInternalClient: internal.host,
      NewEnabled: 1,
      NewPortMappingDescription: DESCRIPTION,
      NewLeaseDuration: seconds,
    });
    const owner = await this.#owner(port, internal);
    if (owner === "theirs") {
      const reason = `external port ${port} belongs to another client`;
      return { outcome: "refused", reason, code: CONFLICT };
    }
    if (owner !== "ours" && this.service.type.endsWith(":2") && !this.#isPermanent) {
      const answer = await this.call("AddAnyPortMapping", given(LEASE_S));
      const reserved = answer.outcome === "done" ? answer.values.get("NewReservedPort") ?? "" : "";
      if (/^\d{1,5}$/.test(reserved) && Number(reserved) > 0 && Number(reserved) < 65536) {
        return Number(reserved);
      }
      // Try the action of version 1 next. Some routers claim version 2, but lack AddAnyPortMapping, or grant it only to
      // some clients.
    }
    let answer = await this.call("AddPortMapping", given(this.#isPermanent ? 0 : LEASE_S));
    if (answer.outcome === "refused" && !this.#isPermanent && LEASE_ERRORS.includes(answer.code)) {
      answer = await this.call("AddPortMapping", given(0));
      this.#isPermanent = answer.outcome === "done";
    }
    return answer.outcome === "done" ? port : answer;
  }

  /** Asks the router whether an external port is mapped to us, to another client, or not at all. */
  async #owner(port: number, internal: Endpoint): Promise<"ours" | "theirs" | "none" | "silent"> {
    const answer = await this.call("GetSpecificPortMappingEntry", entryOf(port));
    if (answer.outcome !== "done") return answer.outcome === "refused" ? "none" : "silent";
    const { values } = answer;
    const client = Endpoint.parse(values.get("NewInternalClient") ?? "", internal.port);
    // Treat an empty entry as no mapping: some routers answer so if no mapping exists.
    if (client === undefined || client.scope === "none") return "none";
    const isOurs = client.equals(internal) &&
      Number(values.get("NewInternalPort")) === internal.port;
    return isOurs ? "ours" : "theirs";
  }

  async check({ external, internal }: Lease): Promise<CheckOutcome> {
    const answer = await this.call("GetExternalIPAddress");
    if (answer.outcome === "silent") return "silent";
    const text = answer.outcome === "done" ? answer.values.get("NewExternalIPAddress") : undefined;
    const isSame = Endpoint.parse(text ?? "", 1)?.sameAddress(external) === true;
    if (!isSame) return "lost";
    if (!this.#listsMappings) return "kept";
    const owner = await this.#owner(external.port, internal);
    return owner === "silent" ? "silent" : owner === "ours" ? "kept" : "lost";
  }

  async release({ external }: Lease): Promise<void> {
    await this.call("DeletePortMapping", entryOf(external.port));
  }
}

/** Returns the arguments that identify a mapping. */
function entryOf(port: number): Arguments {
  return { NewRemoteHost: "", NewExternalPort: port, NewProtocol: "UDP" };
}

/** A router whose IPv6 firewall lets packets in through WANIPv6FirewallControl. */
class UpnpFirewall extends UpnpRouter {
  #pinhole: string | undefined;

  async map(lease?: Lease): Promise<MapOutcome> {
    const { internal } = this.wanted;
    if (lease !== undefined && this.#pinhole !== undefined) {
      const given = { UniqueID: this.#pinhole, NewLeaseTime: LEASE_S };
      const { outcome } = await this.call("UpdatePinhole", given);
      if (outcome === "done") return { outcome: "leased", lease };
    }
    const answer = await this.call("AddPinhole", {
      RemoteHost: "",
      RemotePort: 0,
      InternalClient: internal.host,
      InternalPort: internal.port,
      Protocol: 17,
      LeaseTime: LEASE_S,
    });
    if (answer.outcome !== "done") return answer;
    const id = answer.values.get("UniqueID") ?? "";
    if (!/^\d{1,5}$/.test(id)) return { outcome: "refused", reason: "it gives the pinhole no id" };
    this.#pinhole = id;
    return leased(this, { internal, external: internal, seconds: LEASE_S });
  }

  async check(): Promise<CheckOutcome> {
    const given = { UniqueID: this.#pinhole ?? "" };
    const answer = await this.call("GetPinholePackets", given);
    if (answer.outcome === "silent") return "silent";
    const isGone = answer.outcome === "refused" && answer.code === NO_SUCH_PINHOLE;
    return isGone ? "lost" : "kept";
  }

  async release(): Promise<void> {
    if (this.#pinhole === undefined) return;
    await this.call("DeletePinhole", { UniqueID: this.#pinhole });
  }
}
