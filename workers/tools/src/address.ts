/**
 * Which network addresses `web::fetch` may connect to. Decides on addresses, never on names: a
 * name says nothing about where it leads.
 */
import { AgentOSError } from "@agentos/sdk";
import ipaddr from "ipaddr.js";

/** Addresses that look public and serve a cloud's secrets: Azure's wire server. */
const SECRETS = new Set(["168.63.129.16"]);

/** Whether `address` is on the public internet. Anything with a special meaning is not. */
export function isPublic(address: string): boolean {
  const parsed = ipaddr.parse(address);
  if (SECRETS.has(parsed.toString()) || parsed.range() !== "unicast") return false;
  // Of IPv6 only this eighth has been given out.
  return parsed.kind() === "ipv4" || (parsed.toByteArray()[0] as number) >> 5 === 1;
}

type Rule = (host: string, port: string, address: ipaddr.IPv4 | ipaddr.IPv6) => boolean;

/** What may be reached beside the public internet: `host`, `host:port` or a network `10.0.0.0/8`. */
export class AllowList {
  readonly #rules: Rule[];

  constructor(entries: readonly string[]) {
    this.#rules = entries.map(rule);
  }

  allows(host: string, port: string, address: string): boolean {
    const parsed = ipaddr.process(address);
    return this.#rules.some((allows) => allows(host, port, parsed));
  }
}

function rule(entry: string): Rule {
  if (entry.includes("/")) return network(entry);
  let url: URL;
  try {
    url = new URL(`http://${entry}`);
  } catch {
    throw misspelt(entry);
  }
  // The URL parser leaves the default port out.
  const port = /:80$/.test(entry) ? "80" : url.port;
  return (host, at) => host === url.hostname && (port === "" || port === at);
}

function network(entry: string): Rule {
  if (!ipaddr.isValidCIDR(entry)) throw misspelt(entry);
  const [base, bits] = ipaddr.parseCIDR(entry);
  return (_host, _port, address) => address.kind() === base.kind() && address.match(base, bits);
}

function misspelt(entry: string): AgentOSError {
  const message = `AGENTOS_FETCH_ALLOW: \`${entry}\` is no host, host:port or network such as 10.0.0.0/8`;
  return new AgentOSError("invalid_input", message, { origin: "caller" });
}
