/* A bus behind one link that heals: what programs call, what becomes of it, and when the link is dialled anew.

   Holds the clock; how a link is opened, and where random numbers come from, know those who build on it: busway.js for
   WebSockets, node/bus.js for Unix sockets. Messages are known in leaf.js. Times are in seconds. */

import { concat, decode, encode, hex, isBytes } from "./codec.js";
import { BusClosed, BusError, ENDS, LinkRefused, RemoteError, RequestTimeout, Undeliverable } from "./errors.js";
import * as codes from "./frames.js";
import { Latest } from "./latest.js";
import { Connection } from "./leaf.js";
import { idOf, labelsOf, taken } from "./options.js";
import { Watch } from "./presence.js";
import { Selected } from "./selected.js";
import { Selector } from "./selectors.js";

const ROOM_POLL_MS = 20; // a WebSocket does not say when it has room again
const UNSENT_MAX = 1024; // messages that wait for a session
// What no patience heals.
const FATAL = [
  codes.NOT_BUSWAY,
  codes.BAD_VERSION,
  codes.BUS_NAME,
  codes.SELF,
  codes.TOKEN,
  codes.LIMITS,
  codes.PATTERN,
  codes.NOT_ADMITTED,
];
const ABOUT_TOKENS = {
  [codes.TOKEN]: "the token is wrong, or one side has none, or the bus has another name there: give both sides the same",
  [codes.PATTERN]: "the other side takes no token: leave it out, or give that side the same",
};

const ASKING = { timeout: 30, ttl: 0, node: "", signal: undefined, priority: "normal" };
const SENDING = { timeout: 30, ttl: 0, node: "", priority: "normal", to: "any" };
const ASKING_ALL = { timeout: 30, ttl: 0, signal: undefined, priority: "normal" };
const END = Symbol("the end of an answer in parts");
const clock = () => Math.round(performance.now());

/** Wait for the first session of a bus that was just made, `timeout` seconds at most.

    @returns {Promise} the bus. @throws {LinkRefused} the other side refuses; {BusClosed} none in time. */
export async function opened(bus, timeout) {
  const late = () => new BusClosed(`${bus.url} did not answer within ${timeout} s; ${bus.lastError}`);
  const timer = setTimeout(() => bus.close(late()), timeout * 1000);
  try {
    await bus.opened;
  } finally {
    clearTimeout(timer);
  }
  return bus;
}

/** What those who build on it add: `_open(told)` begins a link and returns it; `_random(size)` draws bytes.

    A link has `send(bytes)`, `close()` and `hasRoom`, and calls `told.opened()`, `told.came(bytes)`, `told.room()` if it
    notices that there is room again, and once, at the end, `told.ended(text)`; none of them before `_open` has returned. */
export class AbstractBus {
  /** @param {string} url where it leads, for people and errors. @param options as of the public ones.
      @param link {realm, via, cost, medium} of its links; {endpoints, keepalive, label, backoff}: what holds if the options
        do not say it, `endpoints` being the realm of what is registered and published. */
  constructor(url, options, link) {
    const { token, bus, label, labels, keepalive, backoff, onState, realm } = taken(options, {
      token: null,
      bus: "default",
      label: "",
      labels: [],
      keepalive: link.keepalive,
      backoff: {},
      onState: () => {},
      realm: link.endpoints,
    });
    if (token !== null && typeof token !== "string") throw new TypeError(`a token is text or null, not a ${typeof token}`);
    if (token === "") throw new TypeError("a token that is not empty was expected");
    this.url = url;
    this.state = "connecting";
    this.lastError = "no connection yet";
    this.node = nodeId(this._random(16));
    this._labels = labelsOf(labels);
    this._link = link;
    this._realm = realm;
    this._realmOf(realm);
    this._token = token;
    this._backoff = { ...link.backoff, ...backoff };
    this._onState = onState;
    this._hello = {
      leaf: true,
      realm: link.realm,
      dialled: true,
      lookups: true,
      node: this.node,
      features: codes.ADDRESSING,
      frame_size_max: 65652,
      message_size_max: 16777216,
      aliases_max: 127,
      partials_max: 4,
      keepalive_ms: Math.round(keepalive * 1000),
      bus,
      label: label || `${link.label} ${this.node.slice(0, 6)}`,
      via: link.via,
      cost: link.cost,
      medium: link.medium,
    };
    this._endpoints = new Map(); // uuid -> {name, kind, realm, labels, calls}
    this._waiting = new Map(); // id in this session -> operation
    this._unsent = new Set(); // operations without a session
    this._watches = new Set(); // of who looks who is there
    this._selected = new Selected(this);
    this._roomy = new Set(); // of who waits for room
    this._tries = 0;
    this.opened = new Promise((resolve, reject) =>
      Object.assign(this, { _resolveOpened: resolve, _rejectOpened: reject }),
    );
    this.opened.catch(() => {}); // who does not wait for it hears of it by onState
    this._dial();
  }

  /** Every subscriber gets a copy of what is published. `name` may be a pattern: levels split at "/", of which * stands
      for any one and ** for any number. `callback(payload, message)`; message: {name, source, missed, priority,
      retained}, of which `name` is the one that it was published under, and `retained` whether it is the last value
      from before.
      Each is handed over as it comes. With `policy: "latest"` the callback is not called again before what it returned
      has ended; of each origin and name only the newest waits meanwhile, and its `missed` says how many it
      has replaced.
      `labels`: what this endpoint is, for those who select by label; at most 8. `realm`: how far it can be reached.
      @returns {{close: function}} */
  subscribe(name, callback, options = {}) {
    const { policy, labels, realm } = taken(options, { policy: undefined, labels: [], realm: this._realm });
    if (policy !== undefined && policy !== "latest")
      throw new RangeError(`policy "latest" or none was expected, not ${policy}: nothing else waits for a callback`);
    return this._register(name, codes.BROADCAST, callback, { labels, realm, policy });
  }

  /** Answer requests and take messages: `handler(payload, message)`, may be async; what it returns is the reply, what it
      throws the error (a RemoteError with its code). A generator, async or not, answers in parts, for
      `requestStream`: each `yield` waits until there is room. `message.signal` is aborted when nobody waits any more.
      `labels` and `realm` as of `subscribe`.
      @returns {{close: function}} */
  serve(name, handler, options = {}) {
    const { labels, realm } = taken(options, { labels: [], realm: this._realm });
    return this._register(name, codes.ANYCAST, handler, { labels, realm });
  }

  /** The answer of whoever has the endpoint, or of the nearest that a selector means (`where`). `timeout` and `ttl` (to
      wait for one to appear) in seconds; `signal` cancels.
      @throws {Undeliverable|RemoteError|RequestTimeout|BusClosed} */
  request(name, value = null, options = {}) {
    const how = taken(options, ASKING);
    if (name instanceof Selector) return this._selected.toAny("request", name, value, how);
    return this._submit("request", name, value, how);
  }

  /** Ask all that a selector means, at most 256: `for await (const { node, name, value, error } of bus.requestAll(...))`,
      in the order in which they answer; each has a `value`, or an `error` that says why not. It ends when all have, at
      the latest after `timeout` seconds; to leave the loop early cancels the others.
      @throws {Undeliverable} nothing is meant, within `ttl` seconds; {BusClosed} */
  async *requestAll(selector, value = null, options = {}) {
    yield* this._selected.each(selector, value, taken(options, ASKING_ALL));
  }

  /** The last value of a name that somebody keeps, or what is published in the meantime: {value, name, source, ...}, as
      a subscriber gets it. @throws {RequestTimeout} none came within `timeout` seconds (5). */
  last(name, options = {}) {
    const { timeout } = taken(options, { timeout: 5 });
    idOf(name);
    return new Promise((resolve, reject) => {
      const end = (how, what) => {
        clearTimeout(timer);
        subscription.close();
        how(what);
      };
      const none = () => new RequestTimeout(`no last value of "${name}" came within ${timeout} s`, codes.EXPIRED);
      const subscription = this.subscribe(name, (value, message) => end(resolve, { value, ...message }));
      const timer = setTimeout(() => end(reject, none()), timeout * 1000); // not if it may not subscribe
    });
  }

  /** Ask for an answer in parts: `for await (const part of bus.requestStream(name))`. All parts in order, or an error,
      never a gap; to leave the loop early cancels. Nothing is asked before the first `next()`. `timeout` in seconds
      until the first part, and from each to the next; `window`, 1 to 32767: how many parts may wait here.
      @throws as `request`, also in the midst of it. */
  async *requestStream(name, value = null, options = {}) {
    const known = { ...ASKING, window: codes.STREAM_WINDOW };
    const { timeout, ttl, node, signal, priority, window } = taken(options, known);
    if (!Number.isInteger(window) || window < 1 || window > codes.STREAM_WINDOW_MAX)
      throw new RangeError(`a window of 1 to 32767 parts was expected, not ${window}`);
    const came = []; // functions: each gives a part, END, or throws
    let wake = () => {};
    const put = (take) => {
      came.push(take);
      wake();
    };
    const left = new AbortController();
    const leave = () => left.abort();
    if (signal?.aborted) leave();
    signal?.addEventListener("abort", leave);
    let over = false;
    const asking = { timeout, ttl, node, signal: left.signal, priority, window, onPart: put };
    this._submit("request", name, value, asking)
      .finally(() => (over = true))
      .then(
        (answer) => put(() => answer),
        (error) => put(() => Promise.reject(error)),
      );
    try {
      while (!over || came.length) {
        if (!came.length) await new Promise((resolve) => (wake = resolve));
        const part = await came.shift()();
        if (part === END) return;
        yield part;
      }
    } finally {
      signal?.removeEventListener("abort", leave);
      leave();
    }
  }

  /** Send to one holder. Resolves when it was written; with `confirm` when the receiving program has taken it.
      `priority`: "low", "normal", "high" or "urgent"; a higher one passes what waits. `name` may be a selector
      (`where`): the nearest that is meant gets it, or with `to: "all"` each, at most 256: then it resolves to an array
      of {node, name, error}, with an `error` where a copy came to nothing.
      @throws {Undeliverable|Unknown|BusClosed} */
  async send(name, value, options = {}) {
    const { confirm, to, ...how } = taken(options, { ...SENDING, confirm: false });
    const kind = confirm ? "confirm" : "send";
    if (!["any", "all"].includes(to)) throw new RangeError(`to: "any" or "all" was expected, not ${to}`);
    if (to === "all") return this._selected.toAll(kind, name, value, how);
    if (name instanceof Selector) await this._selected.toAny(kind, name, value, how);
    else await this._submit(kind, name, value, how);
  }

  /** To all subscribers. False if it was dropped: there is no connection, or it is full; `room` waits for that.
      `priority` as of `send`, `realm`: how far it goes. */
  publish(name, value, options = {}) {
    const { priority, realm } = taken(options, { priority: "normal", realm: this._realm });
    const [payload, format] = packed(value);
    const how = { lane: codes.PRIORITIES.indexOf(priority), name, realm: this._realmOf(realm) };
    const told = this._session?.publish(idOf(name), payload, format, how) ?? false;
    this._flush();
    return told;
  }

  /** Who is there, and who comes, goes or changes: `for await (const { what, name, node } of bus.presence("lab/**"))`.
      First each endpoint that is "present", then "complete", and from then on each that has "arrived", "changed" or
      "departed", with a `reason`: "withdrawn" (its node stays), "goodbye" or "lost". Of unicast and anycast endpoints
      of other nodes, at most 256. `name` may be a pattern or a selector; `signal` ends it, as leaving the loop does.
      @throws {BusClosed}, {BusError} if the other side is of a version without. */
  async *presence(name, options = {}) {
    const { signal } = taken(options, { signal: undefined });
    if (!(name instanceof Selector)) idOf(name, true);
    const watch = new Watch(name instanceof Selector ? name.expression : Selector.named(name).expression);
    const wake = () => watch.wake();
    signal?.addEventListener("abort", wake);
    this._look(watch);
    try {
      while (!signal?.aborted) {
        if (this.state === "closed") throw this._closed();
        if (this.state === "connected" && this._session?.addressing === false)
          throw new BusError("the other side is of an older version, which does not tell who is there");
        const sighting = watch.next();
        if (sighting) yield sighting;
        else await new Promise((resolve) => (watch.wake = resolve));
      }
    } finally {
      signal?.removeEventListener("abort", wake);
      this._lookAway(watch);
    }
  }

  /** Ask for it, in this session and those that follow. */
  _look(watch) {
    this._watches.add(watch);
    if (this.state === "connected") this._watch(watch);
  }

  _lookAway(watch) {
    this._watches.delete(watch);
    this._session?.ignore(watch);
  }

  _watch(watch) {
    this._session.observe(watch, clock());
    watch.wake();
    this._flush();
  }

  /** Resolves when `publish` would not drop: there is a connection, and the socket has room.
      @throws {BusClosed} */
  async room() {
    while (!(this.state === "connected" && this._session?.room())) {
      if (this.state === "closed") throw this._closed();
      await new Promise((resolve) => {
        this._roomy.add(resolve);
        setTimeout(resolve, ROOM_POLL_MS);
      });
    }
  }

  /** End it: what has no outcome yet fails with BusClosed. Twice is once. */
  close(error = new BusClosed("the bus is closed")) {
    if (this.state === "closed") return;
    this._end = error;
    this._setState("closed", { error });
    this._rejectOpened(error);
    for (const { wake } of this._watches) wake();
    clearTimeout(this._redial);
    for (const { calls } of this._endpoints.values()) for (const { latest } of calls) latest?.close();
    if (this._session) this._handle(this._session.close(clock()));
    for (const operation of [...this._unsent, ...this._waiting.values()]) operation.fail(error);
    this._flush();
    this._wire?.close();
    clearTimeout(this._timer);
  }

  /** What a call hears afterwards, with the reason. */
  _closed() {
    const { message, code, constructor } = this._end;
    return new BusClosed(constructor === BusClosed ? message : `the bus is closed: ${message}`, code);
  }

  // The link

  _dial() {
    const wire = (this._wire = this._open({
      opened: () => this._begin(wire),
      came: (bytes) => wire === this._wire && this._session && this._handle(this._session.receive(bytes, clock())),
      room: () => wire === this._wire && this._session && this._hasRoom(),
      ended: (text) => this._lost(wire, text),
    }));
  }

  _hasRoom() {
    this._tick(this._session);
    for (const resolve of this._roomy) resolve();
    this._roomy.clear();
  }

  _begin(wire) {
    if (wire !== this._wire) return;
    const hello = { ...this._hello, incarnation: hex(this._random(4)) };
    const secret = this._token === null ? null : { token: this._token, ephemeral: this._random(32) };
    const session = (this._session = new Connection(hello, secret, clock()));
    session.room = () => wire.hasRoom;
    session.draw = () => new DataView(this._random(4).buffer).getUint32(0);
    for (const [uuid, { kind, name, labels, realm }] of this._endpoints)
      session.register(uuid, kind, name, labels, realm);
    this._flush();
  }

  _lost(wire, text) {
    if (wire !== this._wire || this.state === "closed") return;
    const session = this._session;
    if (session) this._handle(session.receiveEnd(text, clock()));
    this._session = undefined;
    this._wire = undefined;
    if (this.state === "closed") return;
    this.lastError = session?.closeText || text;
    const retryIn = this._delay();
    const error = new BusError(this.lastError);
    this._setState(this._was ? "reconnecting" : "connecting", { error, retryIn });
    if (this.state !== "closed") this._redial = setTimeout(() => this._dial(), retryIn * 1000);
  }

  /** Seconds until it is dialled again. */
  _delay() {
    const { first, most } = this._backoff;
    return Math.min(most, first * 2 ** Math.min(this._tries++, 20)) * (0.5 + Math.random() / 2);
  }

  _setState(state, more = {}) {
    this.state = state;
    this._onState({ state, ...more });
  }

  /** Write what there is to write, and be called again when it is time. */
  _flush() {
    const session = this._session;
    if (!session) return;
    const data = session.take();
    if (data) this._wire?.send(data);
    if (session.done) this._wire?.close();
    clearTimeout(this._timer);
    const next = session.stalled()
      ? Math.min(clock() + ROOM_POLL_MS, session.nextDeadline())
      : session.nextDeadline();
    if (next < Infinity)
      this._timer = setTimeout(() => this._tick(session), Math.max(0, Math.min(next - clock(), 2 ** 30)));
  }

  _tick(session) {
    if (session !== this._session) return;
    const now = clock();
    this._handle([...session.handleTimer(now), ...session.resume(now)]);
  }

  // Events

  _handle(events) {
    for (const event of events) this[`_on_${event.type}`](event);
    this._flush();
  }

  _on_open() {}

  _on_synced({ node, label }) {
    if (this.state === "connected") return;
    this._tries = 0;
    this._was = true;
    this._setState("connected", { peer: node, label });
    this._resolveOpened(this);
    for (const operation of [...this._unsent]) operation.start();
    for (const watch of this._watches) this._watch(watch);
  }

  _on_taken({ endpoint: uuid }) {
    if (!this._endpoints.has(uuid)) return; // closed meanwhile
    const { name } = this._endpoints.get(uuid);
    console.warn(`"${name || uuid}" is held by another node, too, which keeps it until it goes`);
  }

  _on_back({ endpoint: uuid }) {
    console.info(`"${this._endpoints.get(uuid)?.name || uuid}" is held here again`);
  }

  _on_closed({ code, text }) {
    if (this.state === "closed" || !this._isFatal(code, text)) return;
    const why = ABOUT_TOKENS[code] ?? (text || codes.LINK_ERROR_NAMES[code]);
    const error = new LinkRefused(`${this.url} refused: ${why}`, code);
    queueMicrotask(() => {
      if (this.state !== "closed") console.warn(error.message);
      this.close(error);
    });
  }

  /** Whether a link that ended so is not to be dialled again. */
  _isFatal(code) {
    return FATAL.includes(code);
  }

  _on_outcome(event) {
    const operation = this._waiting.get(event.id);
    this._waiting.delete(event.id);
    operation?.finish(event);
  }

  _on_part({ id, payload, format }) {
    const session = this._session;
    this._waiting.get(id)?.part(payload, format, () => {
      session.consume(id, clock());
      if (session === this._session) this._flush();
    });
  }

  _on_undeliverable({ endpoint, code }) {
    this._selected.gone(endpoint);
    console.warn(this._undeliverable(endpoint, code).message);
  }

  _undeliverable(shown, code) {
    return new Undeliverable(shown, code, this._link.realm);
  }

  _on_cancelled({ request }) {
    request.abort?.abort();
    request.wake?.();
  }

  _on_room({ request }) {
    request.wake?.();
  }

  _on_message(event) {
    const endpoint = this._endpoints.get(event.endpoint);
    if (!endpoint) return this._session.turnAway(event); // closed by what came just before it
    const atOnce = endpoint.calls.filter(({ latest }) => !latest);
    for (const { latest } of endpoint.calls) latest?.put(event);
    if (atOnce.length) this._hand(endpoint, atOnce, event);
  }

  /** Resolves when all these callbacks have ended. */
  async _hand(endpoint, calls, event) {
    let payload;
    try {
      payload = event.format === codes.RAW ? event.payload : decode(event.payload);
    } catch (error) {
      if (event.request) this._session.reject(event.request, codes.UNREADABLE, `not CBOR: ${error.message}`);
      else console.warn(`unreadable CBOR for "${endpoint.name}": ${error.message}`);
      return;
    }
    if (event.request) event.request.abort = new AbortController();
    const message = {
      endpoint: endpoint.name,
      name: event.name,
      retained: event.retained,
      source: event.source.slice(0, 32),
      missed: event.missed,
      priority: codes.PRIORITIES[event.lane & 3],
      signal: event.request?.abort.signal,
    };
    await Promise.all(calls.map(({ call }) => this._call(call, payload, message, event.request)));
  }

  async _call(call, payload, message, request) {
    const session = this._session;
    try {
      const answer = await call(payload, message);
      if (typeof answer?.next === "function") await this._answerInParts(session, answer, message, request);
      else if (request) session.respond(request, ...packed(answer));
    } catch (error) {
      if (!request) console.error(error);
      else if (error instanceof RemoteError) session.reject(request, error.code, error.message);
      else
        session.reject(
          request,
          codes.HANDLER_FAILED,
          `${error?.name ?? "Error"}: ${error?.message ?? error}`,
        );
    }
    if (session === this._session) this._flush();
  }

  async _answerInParts(session, parts, { endpoint, signal }, request) {
    if (!request?.window)
      throw new RemoteError(`"${endpoint}" answers in parts: ask it with requestStream`, codes.NOT_A_STREAM);
    for await (const part of parts) {
      const [payload, format] = packed(part);
      while (!session.respondPart(request, payload, format, clock()))
        await new Promise((resolve) => (request.wake = resolve));
      if (signal.aborted) return;
      if (session === this._session) this._flush();
    }
    session.respondEnd(request);
  }

  // Operations

  /** The number of a realm that endpoints here can have. @throws {RangeError} */
  _realmOf(name) {
    const realm = codes.REALMS.indexOf(name);
    if (realm >= this._link.realm) return realm;
    throw new RangeError(`realm: one of ${codes.REALMS.slice(this._link.realm).join(", ")} was expected, not ${name}`);
  }

  _register(name, kind, call, { labels, realm: reach, policy }) {
    if (typeof call !== "function")
      throw new TypeError(`a function was expected for "${name}", not ${typeof call}`);
    const uuid = idOf(name, kind === codes.BROADCAST);
    const realm = this._realmOf(reach);
    const known = this._endpoints.get(uuid);
    if (known && (known.kind !== kind || kind !== codes.BROADCAST))
      throw new BusError(`"${name}" is registered here already`);
    const endpoint = known ?? {
      name: name.replaceAll("-", "").toLowerCase() === uuid ? "" : name,
      kind,
      realm,
      labels: labelsOf([...this._labels, ...labels]),
      calls: [],
    };
    if ([...labels].some((label) => !endpoint.labels.includes(label)))
      throw new BusError(`"${name}" is subscribed to here already, with other labels`);
    if (realm !== endpoint.realm)
      throw new BusError(`"${name}" is subscribed to here already, with realm ${codes.REALMS[endpoint.realm]}`);
    const receiver = { call };
    if (policy === "latest") receiver.latest = new Latest((event) => this._hand(endpoint, [receiver], event));
    endpoint.calls.push(receiver);
    this._endpoints.set(uuid, endpoint);
    if (known) this._catchUp(endpoint, receiver, uuid);
    if (!known) this._session?.register(uuid, kind, endpoint.name, endpoint.labels, realm);
    this._flush();
    return { close: () => this._deregister(uuid, endpoint, receiver) };
  }

  /** Last values that came before for others here are news to a new one. */
  _catchUp(endpoint, receiver, uuid) {
    for (const event of this._session?.lasts.of(uuid) ?? []) {
      if (receiver.latest) receiver.latest.put(event);
      else queueMicrotask(() => endpoint.calls.includes(receiver) && this._hand(endpoint, [receiver], event));
    }
  }

  _deregister(uuid, endpoint, receiver) {
    if (!endpoint.calls.includes(receiver)) return;
    receiver.latest?.close();
    endpoint.calls.splice(endpoint.calls.indexOf(receiver), 1);
    if (endpoint.calls.length || this._endpoints.get(uuid) !== endpoint) return;
    this._endpoints.delete(uuid);
    this._session?.withdraw(uuid);
    this._flush();
  }

  /** One promise for one message; `shown` is what errors call its endpoint. Without a session it waits for the next, as
      long as its time lasts. */
  _submit(kind, name, value, { timeout, ttl, node, signal, priority, window = 0, onPart, shown = name }) {
    if (this.state === "closed") return Promise.reject(this._closed());
    if (this._unsent.size >= UNSENT_MAX)
      return Promise.reject(
        new BusError(`${UNSENT_MAX} messages wait for a connection: wait for some to end`),
      );
    const endpoint = idOf(name);
    const [payload, format] = packed(value);
    const until = clock() + timeout * 1000;
    return new Promise((resolve, reject) => {
      const operation = {
        start: () => {
          this._unsent.delete(operation);
          clearTimeout(operation.timer); // from now on the session sees to the time, and says what is known then
          const timeoutMs = Math.max(1, until - clock());
          const lane = codes.PRIORITIES.indexOf(priority);
          const more = { ttlMs: ttl * 1000, lane, window, partMs: timeout * 1000 };
          operation.id = this._session.submit(
            { kind, endpoint, payload, format, node, timeoutMs, ...more },
            clock(),
          );
          this._waiting.set(operation.id, operation);
          this._handle(this._session.takeEvents());
        },
        park: () => {
          operation.id = 0; // its number may soon be another's
          this._unsent.add(operation);
          operation.timer = setTimeout(
            () => operation.fail(this._undeliverable(shown, codes.NO_ROUTE)),
            Math.max(0, until - clock()),
          );
        },
        finish: (event) => {
          if (event.status === "unsent" && this.state !== "closed") return operation.park();
          if (["accepted", "taken"].includes(event.status)) return operation.settle(resolve);
          if (event.status === "ended") return operation.settle(resolve, END);
          if (event.status === "replied") return operation.reply(event);
          operation.fail(
            (ENDS[event.status] ?? ((_, { code }) => this._undeliverable(shown, code)))(shown, event),
          );
        },
        reply: ({ payload: raw, format: how }) => {
          try {
            operation.settle(resolve, unpacked(shown, raw, how));
          } catch (error) {
            operation.fail(error);
          }
        },
        part: (raw, how, consume) =>
          onPart(() => {
            consume();
            return unpacked(shown, raw, how);
          }),
        fail: (error) => operation.settle(reject, error),
        settle: (how, result) => {
          clearTimeout(operation.timer);
          signal?.removeEventListener("abort", operation.cancel);
          this._unsent.delete(operation);
          this._waiting.delete(operation.id);
          how(result);
        },
        cancel: () => {
          if (this._waiting.has(operation.id)) this._handle(this._session.cancel(operation.id, clock()));
          else operation.fail(ENDS.cancelled());
        },
      };
      if (signal?.aborted) return operation.cancel();
      signal?.addEventListener("abort", operation.cancel);
      if (this.state === "connected" && this._session) operation.start();
      else operation.park();
    });
  }
}

/** Bytes travel as they are, everything else as CBOR, arrays of numbers too; undefined as null. */
function packed(value) {
  if (value instanceof ArrayBuffer) return [new Uint8Array(value), codes.RAW];
  if (isBytes(value)) return [concat(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)), codes.RAW];
  return [encode(value), codes.CBOR];
}

function unpacked(name, payload, format) {
  try {
    return format === codes.RAW ? payload : decode(payload);
  } catch (error) {
    throw new BusError(`the answer of "${name}" is not CBOR: ${error.message}`, codes.UNREADABLE);
  }
}

/** A new one, of no key: the top bit is clear (protocol 3.2.6). */
function nodeId(bytes) {
  bytes[0] &= 0x7f;
  return hex(bytes);
}
