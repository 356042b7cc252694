/* Types of the client for browsers, and of what both clients have. */

import { AbstractBus } from "./bus.js";
import type { BusOptions } from "./bus.js";

export type * from "./bus.js";

export interface WebOptions extends BusOptions {
  token?: string | null | undefined;
}

/** Open a bus and wait for its first session, `timeout` seconds at most (default 10). */
export function connect(url: string, options?: WebOptions & { timeout?: number }): Promise<Bus>;

/** A bus behind one WebSocket that heals. */
export class Bus extends AbstractBus {
  constructor(url: string, options?: WebOptions);
}

/** Whom a message is for by what a receiver is; made by `where`. */
export interface Selector {
  readonly expression: Uint8Array;
  readonly terms: number;
  readonly text: string;
  /** What both mean. */
  and(other: Selector): Selector;
  /** What one of them means. */
  or(other: Selector): Selector;
  /** What it does not mean. */
  not(): Selector;
  toString(): string;
}

/** The endpoints that have all these labels, or `where.name(...)` those of a name or pattern. */
export const where: {
  (label: string, ...labels: string[]): Selector;
  name(pattern: string): Selector;
};

/** Base of all errors here; `code` is the number of docs/protocol.md, section 8. */
export class BusError extends Error {
  constructor(message: string, code?: number);
  code: number;
}
/** Nobody took the message. */
export class Undeliverable extends BusError {
  constructor(endpoint: string, code: number, realm?: number);
  /** The word for `code`. */
  reason: string;
}
/** The one who was asked answered with an error. */
export class RemoteError extends BusError {}
/** No answer in time: the request may have run. */
export class RequestTimeout extends BusError {}
/** A confirmed send whose verdict was lost: it may have been taken. */
export class Unknown extends BusError {}
export class BusClosed extends BusError {}
/** The other side refuses this one for good. */
export class LinkRefused extends BusError {}

/** A value with a tag of CBOR that has no meaning here. */
export class Tagged {
  constructor(tag: number | bigint, value: unknown);
  tag: number | bigint;
  value: any;
}
/** The CBOR of a value. */
export function encode(value: unknown): Uint8Array;
/** The value of one whole CBOR item. */
export function decode(bytes: Uint8Array): any;
/** The uuid of an endpoint's name, 32 hexadecimal digits. */
export function uuidOf(name: string): string;
