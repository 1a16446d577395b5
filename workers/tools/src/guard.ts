/**
 * The guard of `web::fetch`: reads addresses strictly, and looks names up only where the result is
 * checked and then connected to, so that no second look-up can say something else.
 */
import { lookup as systemLookup } from "node:dns/promises";
import { type LookupFunction, isIP } from "node:net";
import { AgentOSError } from "@agentos/sdk";
import { type AllowList, isPublic } from "./address.js";

/** Looks a name up; tests bring their own. */
export type Resolve = (name: string) => Promise<{ address: string; family: number }[]>;

const systemResolve: Resolve = (name) => systemLookup(name, { all: true, verbatim: true });

export class Guard {
  readonly #allow: AllowList;
  readonly #resolve: Resolve;

  constructor(allow: AllowList, resolve: Resolve = systemResolve) {
    this.#allow = allow;
    this.#resolve = resolve;
  }

  /** Reads an address that a caller, or a redirect, gave. */
  readUrl(text: string, base?: URL): URL {
    let url: URL;
    try {
      url = new URL(text, base);
    } catch {
      throw new AgentOSError("invalid_input", `\`${text}\` is not an address`, { origin: "caller" });
    }
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw forbidden(`only http and https are fetched, not \`${url.protocol.slice(0, -1)}\``);
    }
    if (url.username || url.password) throw forbidden("addresses with a user name or password are refused");
    const host = hostOf(url);
    // Node connects to an address that is written out without asking anybody's look-up.
    if (isIP(host)) this.#check(url, host);
    return url;
  }

  /** For one connection to `url`'s host: what it answers was checked. */
  lookup(url: URL): LookupFunction {
    return (name, options, callback) => {
      this.#vetted(url, name).then(
        (found) => {
          if (options.all) callback(null, found);
          else callback(null, found[0]?.address ?? "", found[0]?.family);
        },
        (error: NodeJS.ErrnoException) => callback(error, [], 0),
      );
    };
  }

  async #vetted(url: URL, name: string): Promise<{ address: string; family: number }[]> {
    const found = await this.#resolve(name).catch((error: unknown) => {
      throw new AgentOSError("unavailable", `\`${name}\` cannot be looked up`, { cause: error });
    });
    // One bad address spoils them all: which one is connected to is not ours to say.
    for (const { address } of found) this.#check(url, address);
    if (found.length === 0) throw new AgentOSError("unavailable", `\`${name}\` has no address`);
    return found;
  }

  #check(url: URL, address: string): void {
    const port = url.port || (url.protocol === "https:" ? "443" : "80");
    if (isPublic(address) || this.#allow.allows(url.hostname, port, address)) return;
    throw forbidden(`\`${url.host}\` is not on the public internet`);
  }
}

/** Without the brackets of IPv6. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1");
}

function forbidden(message: string): AgentOSError {
  return new AgentOSError("forbidden", message, { origin: "caller" });
}
