/* Errors that the client's callers see; knows no bus. */

import * as codes from "./codes.js";

/** Base of all errors here; `code` is the number of docs/protocol.md, section 8. */
export class BusError extends Error {
  constructor(message, code = 0) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }
}
/** Nobody took the message; `reason` is the word for `code`. */
export class Undeliverable extends BusError {
  /** `realm`: of the link that it was to go over. */
  constructor(endpoint, code, realm = codes.GLOBAL) {
    const reason = codes.REASON_NAMES[code] ?? String(code);
    super(`"${endpoint}" did not take it: ${reason}${hintOf(code, realm)}`, code);
    this.reason = reason;
  }
}
/** The one who was asked answered with an error; codes from 256 up are the application's own. */
export class RemoteError extends BusError {}
/** No answer in time: the request may have run. */
export class RequestTimeout extends BusError {}
/** A confirmed send whose verdict was lost: it may have been taken. */
export class Unknown extends BusError {}
export class BusClosed extends BusError {}
/** The other side refuses this one for good. */
export class LinkRefused extends BusError {}

function hintOf(code, realm) {
  if (code === codes.WRONG_KIND) return " (publish to broadcast endpoints, send to or ask the others)";
  if (code === codes.NO_FILES) return " (it answers with files or regions, which pages and programs under Node cannot have)";
  if (code !== codes.NO_ENDPOINT || realm !== codes.GLOBAL) return "";
  return ' (nobody has that name with realm="global", which a WebSocket needs)';
}
/** What a call that ended otherwise than well hears, by status. */
export const ENDS = {
  failed: (endpoint, event) =>
    new RemoteError(event.text || `"${endpoint}" answered with error ${event.code}`, event.code),
  timeout: (endpoint) =>
    new RequestTimeout(`"${endpoint}" did not answer in time: it may have run`, codes.EXPIRED),
  unknown: (endpoint) =>
    new Unknown(`whether "${endpoint}" took it is unknown: the link was lost, or the time was over`),
  cancelled: () => new DOMException("the request was called off", "AbortError"),
};
