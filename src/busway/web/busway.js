/* The Busway client for browsers (and node 22 or later): a bus behind one WebSocket that heals.

       import { connect } from "./busway.js";
       const bus = await connect("ws://127.0.0.1:8765");
       bus.subscribe("lab/temperature", (reading, message) => console.log(reading));
       console.log(await bus.request("lab/pump", { rpm: 300 }, { timeout: 2 }));

   Holds the socket; the rest of a bus is known in bus.js. Times are in seconds. */

import { AbstractBus, opened } from "./bus.js";
import { GLOBAL } from "./codes.js";
import { checkOption } from "./options.js";

export { decode, encode, Tagged, uuidOf } from "./codec.js";
export { where } from "./selectors.js";
export { BusClosed, BusError, LinkRefused, RemoteError, RequestTimeout, Undeliverable, Unknown } from "./errors.js";

const BUFFERED_MAX = 1 << 20; // bytes in the socket, beyond which messages wait here
const SUBPROTOCOL = "busway.2";
// Where no WebSocket came about a browser does not say why.
const UNREACHED =
  "there was no WebSocket: nobody listens there, or it is of another version, or does not let this page's origin in, which its log says";

/** Open a bus and wait for its first session.

    @param {string} url ws://host:port/path or wss://...
    @param options as of `Bus`, and `timeout`: seconds until the first session (default 10).
    @returns {Promise<Bus>} @throws {LinkRefused} the other side refuses; {BusClosed} none in time. */
export async function connect(url, options = {}) {
  const { timeout = 10, ...rest } = options;
  checkOption("timeout", timeout, 10);
  return opened(new Bus(url, rest), timeout);
}

export class Bus extends AbstractBus {
  /** Opens at once and stays open until `close`: a lost connection is dialled anew.

      @param {string} url ws:// or wss://
      @param options `token`: the shared secret, if the listener has one. `bus`: the bus's name. `label`: what people
        see of this node, and its name at a server of named clients. `labels`: of all its endpoints. `keepalive`: seconds. `backoff`: {first, most} seconds between attempts, doubling, half of it
        random. `onState({state, error, retryIn, peer, label})`: connecting, connected (with the id and label of who is
        at the other end), reconnecting, closed. */
  constructor(url, options = {}) {
    if (!/^wss?:\/\//.test(url)) throw new TypeError(`a URL as ws://host:port was expected, not ${url}`);
    super(url, options, {
      realm: GLOBAL,
      endpoints: "global",
      via: viaOf(url),
      cost: 32,
      medium: "ws",
      keepalive: 10,
      label: "browser",
      backoff: { first: 0.25, most: 15 },
    });
  }

  _open(told) {
    return new WebSocketLink(this.url, told);
  }

  _random(size) {
    return crypto.getRandomValues(new Uint8Array(size));
  }
}

/** One WebSocket, as `AbstractBus` wants a link. */
class WebSocketLink {
  constructor(url, told) {
    const socket = (this.socket = new WebSocket(url, [SUBPROTOCOL]));
    let was = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      was = true;
      told.opened();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") socket.close(1003);
      else told.came(new Uint8Array(data));
    };
    socket.onclose = ({ code, reason }) => told.ended(reason || (was ? `the WebSocket ended (${code})` : UNREACHED));
    socket.onerror = () => {}; // onclose follows, and says as much
  }

  get hasRoom() {
    return this.socket.bufferedAmount < BUFFERED_MAX;
  }

  send(bytes) {
    if (this.socket.readyState === 1) this.socket.send(bytes);
  }

  close() {
    this.socket.close(1000);
  }
}

/** The name of the address for the other side (protocol 3.1), at most 64 bytes. */
function viaOf(url) {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`.slice(0, 64);
}
