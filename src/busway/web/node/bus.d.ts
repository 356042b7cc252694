/* Types of the client for Node. */

import { AbstractBus } from "../bus.js";
import type { BusOptions } from "../bus.js";

export type * from "../bus.js";
export type { Selector } from "../busway.js";
export { decode, encode, Tagged, uuidOf, where } from "../busway.js";
export { BusClosed, BusError, LinkRefused, RemoteError, RequestTimeout, Undeliverable, Unknown } from "../busway.js";

type Options = BusOptions & { timeout?: number };

/** Open a bus and wait for its first session, `timeout` seconds at most (default 10). */
export function connect(options?: Options): Promise<Bus>;
export function connect(url: string, options?: Options): Promise<Bus>;

/** A bus over a Unix socket of this user's programs that heals. */
export class Bus extends AbstractBus {
  constructor(options?: BusOptions);
  constructor(url: string, options?: BusOptions);
}
