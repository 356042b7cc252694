/* The endpoints of a leaf: what comes for them, the credit of those who send, and answers.

   Sans-IO. What the leaf sends of its own is known in origin.js. */

import { utf8 } from "./codec.js";
import { encodeChange } from "./frames.js";
import * as codes from "./frames.js";
import { Lasts, readAscending, writeAscending } from "./lasts.js";
import { Origin } from "./origin.js";
import { fits, isPattern, levelsOf } from "./patterns.js";

// prettier-ignore
const {
  BROADCAST, CONFIRM, CREDIT, END, ERROR, FLOW_FORGET_IN_MS, GLOBAL, HAVE, NO_ENDPOINT, OPEN, OPENING_CREDIT,
  OVERTAKEN, PART, PROBE_MS, PUBLISH, QUEUE_FULL, RAW, REPLY, REQUEST, SERVING_MAX, SIGNAL, STREAM_PATIENCE_MS, STREAM_STALL_MS,
  CLEARED, MESSAGE_TOO_LARGE, SEND, UNDELIVERABLE, UNICAST, RECEIVE_WINDOW_MAX, WRONG_KIND,
} = codes;

/** The receiver's side of one session, on top of the sender's: a name that another node keeps is given up. */
export class Receiving extends Origin {
  constructor(hello, secret, now) {
    super(hello, secret, now);
    this.endpoints = new Map(); // uuid -> {kind, name, labels, realm}
    this.patterns = new Map(); // uuid -> the levels of its name, of those that are patterns
    this.lost = new Map(); // the same of those whose names others keep
    this.fresh = new Set(); // uuids of which the router has not said yet who had them before
    this.versions = [0, 0, 0, 0]; // of our directory lines, by their realm
    this.inFlows = new Map(); // node + address -> flow
    this.serving = new Map(); // node + id -> request
    this.lasts = new Lasts();
  }

  ended() {
    super.ended();
    for (const request of [...this.serving.values()]) this.drop(request);
  }

  nextDeadline() {
    let next = super.nextDeadline();
    for (const request of this.serving.values()) next = Math.min(next, request.expires);
    return next;
  }

  due(now) {
    super.due(now);
    for (const request of [...this.serving.values()])
      if (now >= request.expires && !this.readsSlowly(request, now)) this.drop(request);
  }

  sweep(now) {
    super.sweep(now);
    for (const [key, flow] of this.inFlows) if (now - flow.lastUsed >= FLOW_FORGET_IN_MS) this.inFlows.delete(key);
  }

  resume(now) {
    super.resume(now);
    for (const request of this.serving.values()) this.tellRoom(request);
  }

  stalled() {
    const waits = (request) => request.blocked && request.sent < request.limit;
    return super.stalled() || [...this.serving.values()].some(waits);
  }

  nodeGone(node, now) {
    super.nodeGone(node, now); // whether it has said goodbye makes no difference here
    for (const request of [...this.serving.values()]) if (request.source === node) this.drop(request);
    this.lasts.forget(node);
  }

  onHave(endpoint, holders, now, crossed) {
    super.onHave(endpoint, holders, now, crossed);
    const known = this.told.get(endpoint);
    if (known) this.settleName(endpoint, known);
  }

  // Our endpoints

  /** `kind` 1 to 3, `realm` 1 to 3. Announced at once, or when the session opens. */
  register(endpoint, kind, name, labels = [], realm = GLOBAL) {
    this.endpoints.set(endpoint, { kind, name, labels, realm });
    if (kind === BROADCAST && isPattern(name)) this.patterns.set(endpoint, levelsOf(name));
    if (this.state !== OPEN) return;
    this.announce([{ endpoint, kind, name, labels }], realm);
    this.watch(endpoint, kind);
  }

  /** A unicast name may be held by another node, too: the router says so. */
  watch(endpoint, kind) {
    if (kind !== UNICAST) return;
    this.fresh.add(endpoint);
    const holders = this.told.get(endpoint);
    if (holders) this.settleName(endpoint, holders);
    else if (!this.told.has(endpoint)) this.ask(endpoint);
  }

  /** Who had a name when we came keeps it; we get it back when nobody is in conflict with us. */
  settleName(endpoint, holders) {
    const mine = this.endpoints.get(endpoint) ?? this.lost.get(endpoint);
    const isRival = ({ node, kind, realm }) =>
      kind && realm === mine.realm && node.slice(0, 32) !== this.mine.node && (kind === UNICAST || kind !== mine.kind);
    const first = this.fresh.delete(endpoint);
    if (!mine) return;
    const rival = holders.some(isRival);
    if (this.lost.has(endpoint) && !rival) {
      this.lost.delete(endpoint);
      this.endpoints.set(endpoint, mine);
      this.announce([{ endpoint, ...mine }], mine.realm);
      this.events.push({ type: "back", endpoint });
    } else if (this.endpoints.has(endpoint) && rival && first) {
      this.withdraw(endpoint);
      this.lost.set(endpoint, mine);
      this.events.push({ type: "taken", endpoint });
    }
  }

  withdraw(endpoint) {
    if (this.lost.delete(endpoint)) return;
    const { realm } = this.endpoints.get(endpoint);
    this.endpoints.delete(endpoint);
    this.patterns.delete(endpoint);
    this.lasts.forget(endpoint);
    for (const [key, flow] of this.inFlows) if (flow.endpoint === endpoint) this.inFlows.delete(key);
    if (this.state === OPEN) this.announce([{ endpoint, kind: 0 }], realm);
  }

  /** Tell what changed in the line of a realm, which travels over no link that is wider. */
  announce(entries, realm, label) {
    if (realm < this.realm) return;
    if (!this.addressing) entries = entries.map((entry) => ({ ...entry, labels: [] }));
    const base = this.versions[realm];
    const version = (this.versions[realm] += entries.length);
    const change = { realm, label, base, version, entries };
    for (const body of encodeChange(change, this.limits.frame_size_max)) this.say(body);
  }

  onWho(source, endpoint, crossed) {
    const mine = this.within(endpoint, crossed);
    this.write(
      { kind: SIGNAL, signal: HAVE, endpoint, destination: source },
      Uint8Array.from(mine ? [mine.kind | (mine.realm << 2), 1, 0, 0] : []),
    );
  }

  /** Our endpoint, if it can be reached from as far away as what comes for it has come. */
  within(endpoint, crossed = 0) {
    const mine = this.endpoints.get(endpoint);
    return mine && mine.realm >= Math.max(this.realm, crossed) ? mine : undefined;
  }

  // What comes for them

  inFlow(source, { endpoint, address, lane }, number, now) {
    const key = source + address;
    const start = number - 1;
    if (!this.inFlows.has(key))
      this.inFlows.set(key, {
        source,
        endpoint,
        lane,
        received: start,
        busy: 0,
        window: OPENING_CREDIT,
        limit: start + OPENING_CREDIT,
        bridged: 0,
      });
    const flow = this.inFlows.get(key);
    flow.lastUsed = now;
    return flow;
  }

  arrive(source, header, payload, now) {
    const { kind, endpoint, number, id } = header;
    const mine = this.within(endpoint, header.realm);
    if (mine?.kind === BROADCAST && kind === SEND && header.retain) return this.replayed(source, header, payload, mine);
    if (mine?.kind === BROADCAST && kind === REQUEST && header.retain) return this.tellLacking(source, header, payload);
    if (!mine) return this.refuse(source, header, NO_ENDPOINT);
    if ((kind === PUBLISH) !== (mine.kind === BROADCAST)) return this.refuse(source, header, WRONG_KIND);
    if (!this.isMeant(header)) return void this.skipped++;
    const flow = this.inFlow(source, header, number, now);
    if (header.name && header.destination !== flow.root) {
      flow.root = header.destination; // of a leaf's copies its router, which numbers them: another one begins anew
      flow.received = number - 1;
    }
    const gap = (number - flow.received) & 0xffff;
    if (!gap || gap >= 0x8000) return this.refuse(source, header, OVERTAKEN);
    flow.received += gap;
    const missed = gap - 1 + flow.bridged;
    flow.bridged = 0;
    const event = eventOf(source, header, payload, mine, { missed });
    if (header.retain && !this.noteLast(event, header)) {
      flow.bridged = missed; // which the next one tells
      return;
    }
    if (id) {
      if (this.serving.size >= SERVING_MAX) return this.refuse(source, header, QUEUE_FULL);
      event.request = {
        key: source + id,
        id,
        source,
        flow,
        confirm: kind === CONFIRM,
        realm: mine.realm,
        timeoutMs: header.timeoutMs,
        expires: now + header.timeoutMs,
        window: header.window ?? 0, // above 0: an answer in parts is taken
        sent: 0,
        limit: header.window ?? 0,
        heardAt: now,
        movedAt: now, // when there was room for more the last time
        blocked: false, // somebody waits for room
      };
      this.drop(this.serving.get(event.request.key)); // an id used again: its origin has given the former one up
      this.serving.set(event.request.key, event.request);
      flow.busy++;
    }
    this.events.push(event);
    if (kind !== PUBLISH) this.grant(flow);
  }

  /** A last value from before, which was sent to us alone; it has no number of its own, nor credit. */
  replayed(source, header, payload, mine) {
    if (!this.isMeant(header)) return void this.skipped++;
    const event = eventOf(source, header, payload, mine, { retained: true });
    if (this.noteLast(event, header)) this.events.push(event);
  }

  /** The question which last values are lacking here, of those that it says there are. */
  tellLacking(source, { endpoint, id, retain }, payload) {
    const [after, ...numbers] = readAscending(payload);
    if (after === undefined) return;
    const lacking = this.lasts.compare(source, endpoint, after, retain, numbers);
    this.write({ kind: REPLY, id, destination: source }, writeAscending(lacking));
  }

  /** Whether the program gets a last value: not one that it had, nor the news that there is none any more. */
  noteLast(event, { name = "", retain }) {
    const { source, endpoint } = event;
    if (!this.lasts.isNews(source, endpoint, name, retain)) return false;
    const cleared = retain >= CLEARED;
    this.lasts.note(source, endpoint, name, retain, cleared ? undefined : { ...event, retained: true, missed: 0 });
    return !cleared;
  }

  /** Whether it belongs to the endpoint that it names: what comes by a pattern has a name which that means, and what
      comes by a name has none. */
  isMeant({ endpoint, name = "" }) {
    const pattern = this.patterns.get(endpoint);
    return pattern ? name !== "" && fits(pattern, name) : name === "";
  }

  refuse(source, { kind, endpoint, lane, number, id }, code) {
    if (kind === PUBLISH) return;
    if (id) this.write({ kind: ERROR, id, code, lane, destination: source });
    else this.write({ kind: SIGNAL, signal: UNDELIVERABLE, endpoint, lane, number, code, destination: source });
  }

  /** A message that was handed out, and that nobody wants any more. */
  turnAway(event) {
    if (event.request) this.reject(event.request, NO_ENDPOINT, "");
    else this.refuse(event.source, event, NO_ENDPOINT);
  }

  /** CREDIT as the program takes: the window doubles as it is used. */
  grant(flow, always = false) {
    const taken = flow.received - flow.busy;
    if (!always && flow.limit - taken > flow.window / 2) return;
    if (!always) flow.window = Math.min(RECEIVE_WINDOW_MAX, flow.window * 2);
    flow.limit = Math.max(flow.limit, taken + flow.window);
    this.write({
      kind: SIGNAL,
      signal: CREDIT,
      endpoint: flow.endpoint,
      lane: flow.lane,
      number: flow.limit & 0xffff,
      destination: flow.source,
    });
  }

  onProbe(source, about, sent, now) {
    const mine = this.within(about.endpoint, about.realm);
    if (!mine) return;
    const flow = this.inFlow(source, about, sent + 1, now);
    const gap = (sent - flow.received) & 0xffff;
    if (gap < 0x8000 || mine.kind === BROADCAST) {
      flow.received += gap;
      flow.bridged += gap;
    }
    if (mine.kind !== BROADCAST) this.grant(flow, true);
  }

  release(request) {
    if (!request || !this.serving.delete(request.key)) return false;
    request.flow.busy--;
    if (this.state === OPEN && this.endpoints.has(request.flow.endpoint)) this.grant(request.flow);
    return true;
  }

  drop(request) {
    if (this.release(request)) this.events.push({ type: "cancelled", request });
  }

  /** The answer to a request; for a confirmed send the verdict "taken". Late ones are ignored. */
  respond(request, payload, format) {
    if (payload.length > this.limits.message_size_max)
      return this.reject(request, MESSAGE_TOO_LARGE, "the reply exceeds message_size_max");
    if (!this.release(request)) return;
    this.write(
      { kind: REPLY, ...this.answerTo(request), format: request.confirm ? RAW : format },
      request.confirm ? undefined : payload,
    );
  }

  reject(request, code, text) {
    if (this.release(request))
      this.write({ kind: ERROR, ...this.answerTo(request), code }, utf8.encode(text));
  }

  /** Answers follow their request, in its priority, too. */
  answerTo({ id, source, flow }) {
    return { id, destination: source, lane: flow.lane };
  }

  // Our answers in parts

  /** One part. False if there is no room: a room event follows, or cancelled. */
  respondPart(request, payload, format, now) {
    if (this.serving.get(request.key) !== request) return true; // nobody waits for it
    if (payload.length > this.limits.message_size_max) {
      this.reject(request, MESSAGE_TOO_LARGE, "a part of the reply exceeds message_size_max");
      this.events.push({ type: "cancelled", request });
      return true;
    }
    request.blocked = request.sent >= request.limit || !this.room();
    if (request.blocked) return false;
    const number = request.sent++ & 0xffff;
    request.expires = now + request.timeoutMs;
    this.write({ kind: PART, ...this.answerTo(request), number, format }, payload);
    return true;
  }

  /** There are no more parts. */
  respondEnd(request) {
    if (!this.release(request)) return;
    const number = request.sent & 0xffff;
    this.write({ kind: SIGNAL, signal: END, ...this.answerTo(request), number });
  }

  onPartCredit(request, limit, now) {
    if (!request?.window) return;
    request.heardAt = now;
    const gain = (limit - request.limit) & 0xffff;
    if (!gain || gain >= 0x8000) return;
    request.movedAt = now;
    request.limit += gain;
    request.expires = now + request.timeoutMs;
    this.tellRoom(request);
  }

  tellRoom(request) {
    if (!request.blocked || request.sent >= request.limit || !this.room()) return;
    request.blocked = false;
    this.events.push({ type: "room", request });
  }

  /** Whether a request whose time is up only waits for its origin to read on; that says now and then that it is there. */
  readsSlowly(request, now) {
    if (!request.blocked || request.sent < request.limit || now - request.heardAt >= STREAM_PATIENCE_MS)
      return false;
    if (now - request.movedAt >= STREAM_STALL_MS) return false;
    request.expires = now + Math.max(PROBE_MS, request.timeoutMs);
    return true;
  }
}

/** A message as the program is told of it. */
function eventOf(source, { kind, endpoint, lane, number, format, type, name }, payload, mine, more) {
  const told = { type: "message", kind, endpoint, source, lane, number, payload, format, messageType: type };
  return { ...told, name: name || mine.name, retained: false, missed: 0, ...more };
}
