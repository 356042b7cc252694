/* The Busway client for Node: a bus over the Unix sockets of this user's programs on this machine.

       import { connect } from "busway/node";
       const bus = await connect();
       bus.subscribe("lab/temperature", (reading, message) => console.log(reading));
       console.log(await bus.request("lab/pump", { rpm: 300 }, { timeout: 2 }));

   Holds the socket; where it is, is known in places.js, and the rest of a bus in ../bus.js. Times are in seconds. */

import { randomBytes } from "node:crypto";
import net from "node:net";
import { basename } from "node:path";
import process from "node:process";

import { AbstractBus, opened } from "../bus.js";
import { CLOSING_MS, USERSPACE } from "../codes.js";
import { checkOption } from "../options.js";
import { Finder } from "./finder.js";

export { decode, encode, Tagged, uuidOf } from "../codec.js";
export { where } from "../selectors.js";
export { BusClosed, BusError, LinkRefused, RemoteError, RequestTimeout, Undeliverable, Unknown } from "../errors.js";

const BUFFERED_MAX = 1 << 20; // bytes in the socket, beyond which messages wait here

/** Open a bus and wait for its first session.

    @param {string} [url] as of `Bus`. @param options as of `Bus`, and `timeout`: seconds until the first session (default 10).
    @returns {Promise<Bus>} @throws {BusClosed} nobody was there in time; {LinkRefused} the program at `url` refuses. */
export async function connect(url, options) {
  const [given, { timeout = 10, ...rest }] = sorted(url, options);
  checkOption("timeout", timeout, 10);
  return opened(new Bus(given, rest), timeout);
}

export class Bus extends AbstractBus {
  /** Opens at once and stays open until `close`: when the program at the other end is gone, another one is looked for.

      @param {string} [url] ipc:///path of a socket; without it, of any program of this user on the bus.
      @param options `bus`: the bus's name (BUSWAY_BUS, else "default"). `realm`: how far what is registered and published here
        goes, "userspace", "localnet" (the default) or "global". `label`: what people see of this node. `labels`: of all its
        endpoints. `backoff`: {first, most} seconds between attempts, doubling, half of it random. `onState({state, error,
        retryIn, peer, label})`: connecting, connected (with the id and label of who is at the other end), reconnecting,
        closed.
      @throws {BusError} on a system without Unix sockets; {RangeError}, {TypeError} for what cannot be. */
  constructor(url, options) {
    const [given, more] = sorted(url, options);
    if ("token" in more) throw new TypeError("there is no option token: programs of one user on one machine need none");
    const { bus = process.env.BUSWAY_BUS || "default", label = basename(process.argv[1] ?? "node").slice(0, 64) } = more;
    super(
      given || "the local bus",
      { ...more, bus, label },
      {
        realm: USERSPACE,
        endpoints: "localnet",
        via: "ipc",
        cost: 1,
        medium: "ipc",
        keepalive: 0, // the system tells when a program ends
        label: "node",
        backoff: { first: 0.05, most: 0.5 },
        finder: new Finder(bus, given),
      },
    );
  }

  _open(told) {
    return new UnixLink(this._link.finder, told);
  }

  _random(size) {
    return new Uint8Array(randomBytes(size));
  }

  _on_synced(event) {
    this._link.finder.done();
    super._on_synced(event);
  }

  _isFatal(code, text) {
    if (!super._isFatal(code)) return false;
    return this._link.finder.isGiven || this._link.finder.note(text); // which is false: another may take us
  }

  _delay() {
    return this._link.finder.isBusy ? 0 : super._delay();
  }
}

/** Both arguments, of which the first may be left out. */
function sorted(url = "", options = {}) {
  return typeof url === "string" ? [url, options] : ["", url];
}

/** One socket, as `AbstractBus` wants a link. */
class UnixLink {
  constructor(finder, told) {
    const { path, patience, objection } = finder.next();
    if (!path) {
      setImmediate(() => told.ended(objection));
      return;
    }
    let why = "the other program ended, or its machine's user did";
    const socket = (this.socket = net.connect({ path }));
    this.timer = setTimeout(() => socket.destroy(new Error(`${path} did not answer`)), patience);
    socket.on("connect", () => told.opened());
    socket.on("data", (data) => {
      clearTimeout(this.timer);
      told.came(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    });
    socket.on("drain", () => told.room());
    socket.on("error", (error) => (why = error.message));
    socket.on("close", () => {
      clearTimeout(this.timer);
      told.ended(why);
    });
  }

  get hasRoom() {
    return this.socket.writableLength < BUFFERED_MAX;
  }

  send(bytes) {
    if (this.socket?.writable) this.socket.write(bytes);
  }

  /** What was written still leaves, unless the other side reads nothing any more. */
  close() {
    if (!this.socket || this.socket.destroyed) return;
    clearTimeout(this.timer);
    this.socket.end();
    this.timer = setTimeout(() => this.socket.destroy(), CLOSING_MS);
  }
}
