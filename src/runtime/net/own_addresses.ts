// The addresses of this machine, with the interfaces that have them.

import type { Family } from "../../krpc/endpoint.ts";

/** An address of this machine. */
export interface OwnAddress {
  readonly family: Family;
  /** The address. A link-local one ends with `%` and the name of the interface. */
  readonly host: string;
}

/** An IPv6 address of this machine, with its interface. */
export interface LinkAddress extends OwnAddress {
  readonly family: 6;
  readonly interfaceName: string;
  /** The number by which the system knows the interface. */
  readonly interfaceIndex: number;
}

/** Whether an address is in fe80::/10. It is valid only on one link. */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab]/.test(host);
}

/** Whether the program may read the addresses of this machine. */
export function mayReadAddresses(): boolean {
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  return Deno.permissions.querySync(permission).state === "granted";
}

/** The addresses of this machine, or of one interface, except loopback; none if the program may not read them. */
export function systemAddresses(interfaceName?: string): OwnAddress[] {
  return interfaces()
    .filter(({ address }) => !address.startsWith("127.") && address !== "::1")
    .filter(({ name }) => interfaceName === undefined || name === interfaceName)
    .map(({ name, family, address }) => ({
      family: family === "IPv4" ? 4 : 6,
      host: isLinkLocal(address) ? `${address}%${name}` : address,
    }));
}

/**
 * The IPv6 addresses of all interfaces that have a link-local address, as all but loopback and some tunnels do; none if
 * the program may not read them.
 */
export function linkAddresses(): LinkAddress[] {
  const all = interfaces().filter(({ family }) => family === "IPv6");
  // The system reports the number of an interface only with the interface's link-local address.
  const indexes = new Map(
    all.filter(({ address }) => isLinkLocal(address)).map(({ name, scopeid }) => [name, scopeid]),
  );
  return all.flatMap(({ name, address }) => {
    const interfaceIndex = indexes.get(name);
    if (typeof interfaceIndex !== "number") return [];
    const host = isLinkLocal(address) ? `${address}%${name}` : address;
    return [{ family: 6, host, interfaceName: name, interfaceIndex }];
  });
}

function interfaces(): Deno.NetworkInterfaceInfo[] {
  if (!mayReadAddresses()) return [];
  try {
    return Deno.networkInterfaces();
  } catch {
    return []; // for example, a service that may not use netlink sockets
  }
}
