/* Types of bus.js, and of what calls of the client take and give. tests/web/test_types.py holds them to the code. */

import type { Selector } from "./busway.js";

export type Realm = "userspace" | "localnet" | "global";
export type Priority = "low" | "normal" | "high" | "urgent";
/** A name, a pattern where one may be, or a uuid as hexadecimal digits. */
export type Name = string;
export type Labels = Iterable<string>;

/** What a callback is told of a message besides its payload. */
export interface Message {
  endpoint: string;
  /** That it was published under, which `endpoint`, if that is a pattern, is not. */
  name: string;
  /** The id of the node that has sent it, 32 hexadecimal digits. */
  source: string;
  missed: number;
  priority: Priority;
  /** Whether it was there before as the last value of its name. */
  retained: boolean;
  /** Of what wants an answer: aborted when nobody waits for that any more. */
  signal: AbortSignal | undefined;
}

export interface State {
  state: "connecting" | "connected" | "reconnecting" | "closed";
  error?: Error;
  /** Seconds. */
  retryIn?: number;
  /** The id of the node at the other end, 32 hexadecimal digits. */
  peer?: string;
  label?: string;
}

export interface BusOptions {
  bus?: string | undefined;
  label?: string | undefined;
  labels?: Labels | undefined;
  /** Seconds. */
  keepalive?: number | undefined;
  backoff?: { first?: number; most?: number } | undefined;
  realm?: Realm | undefined;
  onState?: ((state: State) => void) | undefined;
}

export interface RegisterOptions {
  labels?: Labels | undefined;
  realm?: Realm | undefined;
}

export interface SubscribeOptions extends RegisterOptions {
  policy?: "latest" | undefined;
}

/** Seconds each. */
export interface Times {
  timeout?: number | undefined;
  ttl?: number | undefined;
}

export interface AskAllOptions extends Times {
  signal?: AbortSignal | undefined;
  priority?: Priority | undefined;
}

export interface AskOptions extends AskAllOptions {
  node?: string | undefined;
}

export interface StreamOptions extends AskOptions {
  window?: number | undefined;
}

export interface SendOptions extends Times {
  confirm?: boolean | undefined;
  node?: string | undefined;
  priority?: Priority | undefined;
  to?: "any" | undefined;
}

export interface CopyOptions extends Times {
  confirm?: boolean | undefined;
  priority?: Priority | undefined;
  to: "all";
}

export interface PublishOptions {
  priority?: Priority | undefined;
  realm?: Realm | undefined;
}

export interface Registration {
  close(): void;
}

/** What became of a copy. */
export interface Copy {
  node: string;
  name: string;
  error?: Error;
}

/** One of several answers: a value, or an error. */
export interface Answer<T = any> extends Copy {
  value?: T;
}

export interface Seen {
  node: string;
  /** The endpoint's uuid, 32 hexadecimal digits. */
  endpoint: string;
  kind: "unicast" | "anycast" | "broadcast";
  name: string;
  labels: string[];
}

type Nothing<T> = { [key in keyof T]?: undefined };

/** What `presence` tells. */
export type Sighting =
  | (Nothing<Seen> & { what: "complete"; former?: undefined; reason?: undefined })
  | (Seen & { what: "present" | "arrived"; former?: undefined; reason?: undefined })
  | (Seen & { what: "changed"; former: Seen; reason?: undefined })
  | (Seen & { what: "departed"; former?: undefined; reason: "withdrawn" | "goodbye" | "lost" });

/** Wait for the first session of a bus that was just made, `timeout` seconds at most. */
export function opened<B extends AbstractBus>(bus: B, timeout: number): Promise<B>;

export class AbstractBus {
  constructor(url: string, options: object, link: object);

  readonly url: string;
  readonly state: State["state"];
  readonly lastError: string;
  /** This node's id, 32 hexadecimal digits. */
  readonly node: string;
  readonly opened: Promise<this>;

  /** Every subscriber gets a copy of what is published. `name` may be a pattern. */
  subscribe<T = any>(
    name: Name,
    callback: (payload: T, message: Message) => unknown,
    options?: SubscribeOptions,
  ): Registration;

  /** Answer requests and take messages: what the handler returns is the answer, a generator answers in parts. */
  serve<T = any>(
    name: Name,
    handler: (payload: T, message: Message) => unknown,
    options?: RegisterOptions,
  ): Registration;

  /** The answer of whoever has the endpoint, or of the nearest that a selector means. */
  request<T = any>(name: Name | Selector, value?: unknown, options?: AskOptions): Promise<T>;

  /** Ask all that a selector means: their answers as they come. */
  requestAll<T = any>(
    selector: Selector,
    value?: unknown,
    options?: AskAllOptions,
  ): AsyncGenerator<Answer<T>, void, undefined>;

  /** Ask for an answer in parts: all of them in order, or an error. */
  requestStream<T = any>(name: Name, value?: unknown, options?: StreamOptions): AsyncGenerator<T, void, undefined>;

  /** The last value of a name. */
  last<T = any>(name: Name, options?: { timeout?: number | undefined }): Promise<{ value: T } & Message>;

  /** Send to one holder, or with `to: "all"` a copy to each that a selector means. */
  send(name: Selector, value: unknown, options: CopyOptions): Promise<Copy[]>;
  send(name: Name | Selector, value?: unknown, options?: SendOptions): Promise<void>;

  /** To all subscribers. False if it was dropped. */
  publish(name: Name, value?: unknown, options?: PublishOptions): boolean;

  /** Who is there, and who comes, goes or changes. */
  presence(
    name: Name | Selector,
    options?: { signal?: AbortSignal | undefined },
  ): AsyncGenerator<Sighting, void, undefined>;

  /** Resolves when `publish` would not drop. */
  room(): Promise<void>;

  /** End it: what has no outcome yet fails with BusClosed. Twice is once. */
  close(error?: Error): void;
}
