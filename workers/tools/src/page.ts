/**
 * What was fetched as text for a model: the character set, HTML as text, a cut between characters.
 */
import { convert } from "html-to-text";
import { cutAt, isBinary } from "./text.js";

interface How {
  /** The `content-type` header. */
  type: string;
  url: URL;
  /** Leave HTML as it is. */
  raw: boolean;
  /** Most bytes of text. */
  limit: number;
}

/** The text of `body`, or null when it is none. */
export function readable(body: Buffer, { type, url, raw, limit }: How): { content: string | null; cut: boolean } {
  const text = decode(body, type);
  if (text === null) return { content: null, cut: false };
  const shown = !raw && isHtml(type, text) ? pageText(text, url) : text;
  const bytes = Buffer.from(shown, "utf8");
  if (bytes.length <= limit) return { content: shown, cut: false };
  return { content: bytes.subarray(0, cutAt(bytes, limit)).toString("utf8"), cut: true };
}

function decode(body: Buffer, type: string): string | null {
  const charset = /charset="?([\w-]+)/i.exec(type)?.[1] ?? "utf-8";
  if (/^utf-?8$/i.test(charset)) return isBinary(body) ? null : body.toString("utf8");
  try {
    return new TextDecoder(charset).decode(body);
  } catch {
    return isBinary(body) ? null : body.toString("utf8");
  }
}

function isHtml(type: string, text: string): boolean {
  if (/^\s*(text\/html|application\/xhtml\+xml)/i.test(type)) return true;
  return type === "" && /^\s*<(!doctype html|html)/i.test(text);
}

function pageText(html: string, url: URL): string {
  return convert(html, {
    wordwrap: false,
    baseElements: { selectors: ["main", "article", "body"], orderBy: "selectors", returnDomByDefault: true },
    selectors: [
      { selector: "a", options: { baseUrl: url.href, ignoreHref: false, hideLinkHrefIfSameAsText: true } },
      { selector: "img", format: "skip" },
      { selector: "nav", format: "skip" },
      { selector: "table", format: "dataTable" },
      ...["h1", "h2", "h3", "h4", "h5", "h6"].map((selector) => ({ selector, options: { uppercase: false } })),
    ],
  });
}
