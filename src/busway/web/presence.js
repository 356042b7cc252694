/* Who is there: the endpoints that a name, pattern or selector means, and those that come, go or change.

   Sans-IO. A leaf is told of nothing that it did not ask for, so it asks its router again and again (SELECT of
   docs/protocol.md, section 4.4); that a node is gone its router says by itself. */

import * as codes from "./frames.js";
import { Receiving } from "./receiving.js";

const { LOST_MS, MORE_FOLLOW, OPEN, REFUSED, SELECT, SELECTED_MAX, SIGNAL } = codes;

const ASK_MS = 2000; // from one answer to the next question
const PATIENCE_MS = 10000; // for an answer: a router waits 2 s for those that it asks
const NODE_SIZE = 40; // hexadecimal digits of a node and its incarnation

/** What one reader is to be told: it follows from what is there and what it has been told, so a slow one makes nothing
    grow. */
export class Watch {
  constructor(expression) {
    this.expression = expression;
    this.here = new Map(); // node and uuid -> what is known
    this.told = new Map(); // the same, as the reader knows it
    this.reasons = new Map(); // of nodes that are gone or may be: "goodbye" or "lost"
    this.whole = false; // all that was there is known
    this.completed = false; // ... and the reader knows it
    this.wake = () => {};
  }

  /** An answer: all that is there now. */
  answer(holders) {
    const found = new Map(holders.map((holder) => [holder.node + holder.endpoint, holder]));
    for (const key of this.here.keys()) if (!found.has(key)) this.here.delete(key);
    for (const [key, { node, endpoint, kind, name, labels }] of found)
      this.here.set(key, { node: node.slice(0, 32), endpoint, kind: KINDS[kind], name, labels });
    this.whole = true;
    this.wake();
    for (const { node } of holders) this.reasons.delete(node);
  }

  /** A node is gone, with a goodbye or without: then perhaps for a moment only, which the next answer shows. */
  depart(node, goodbye) {
    if ([...this.told.keys()].some((key) => key.startsWith(node))) this.reasons.set(node, goodbye ? "goodbye" : "lost");
    if (!goodbye) return;
    for (const key of this.here.keys()) if (key.startsWith(node)) this.here.delete(key);
    this.wake();
  }

  /** The next thing to tell; undefined if there is nothing. */
  next() {
    for (const [key, seen] of this.told) {
      if (this.here.has(key)) continue;
      this.told.delete(key);
      const node = key.slice(0, NODE_SIZE);
      const reason = this.reasons.get(node) ?? "withdrawn";
      if (![...this.told.keys()].some((other) => other.startsWith(node))) this.reasons.delete(node);
      return { what: "departed", ...seen, reason };
    }
    for (const [key, seen] of this.here) {
      const former = this.told.get(key);
      if (former && JSON.stringify(former) === JSON.stringify(seen)) continue;
      this.told.set(key, seen);
      if (former) return { what: "changed", ...seen, former };
      return { what: this.completed ? "arrived" : "present", ...seen };
    }
    if (!this.whole || this.completed) return undefined;
    this.completed = true;
    return { what: "complete" };
  }
}

const KINDS = ["", "unicast", "anycast", "broadcast"];

/** The session's side: questions and answers, one under way for each reader. */
export class Presence extends Receiving {
  constructor(hello, secret, now) {
    super(hello, secret, now);
    this.watches = new Map(); // watch -> {id, at, came}: the question under way, or when the next is due
  }

  nextDeadline() {
    let next = super.nextDeadline();
    if (this.addressing) for (const { at } of this.watches.values()) next = Math.min(next, at);
    return next;
  }

  /** Tell a reader. Whoever is not there any more since a former session was lost meanwhile. */
  observe(watch, now) {
    for (const key of watch.here.keys()) watch.depart(key.slice(0, NODE_SIZE), false);
    this.watches.set(watch, { id: 0, at: now, came: [] });
    this.due(now);
  }

  ignore(watch) {
    this.watches.delete(watch);
  }

  due(now) {
    super.due(now);
    if (this.state !== OPEN || !this.addressing) return;
    for (const [watch, asking] of this.watches) if (now >= asking.at) this.inquire(watch, asking, now);
  }

  inquire(watch, asking, now) {
    this.inquiries = ((this.inquiries ?? 0) % 0x0fffffff) + 1;
    Object.assign(asking, { id: this.inquiries, at: now + PATIENCE_MS, came: [] });
    this.write({ kind: SIGNAL, signal: SELECT, id: asking.id }, watch.expression);
  }

  onSelected({ id, flags, holders }, now) {
    for (const [watch, asking] of this.watches) {
      if (asking.id !== id) continue;
      asking.came.push(...holders.slice(0, SELECTED_MAX - asking.came.length));
      if (flags & MORE_FOLLOW) return;
      if (!(flags & REFUSED)) watch.answer(asking.came, now);
      Object.assign(asking, { id: 0, at: now + ASK_MS, came: [] });
    }
  }

  nodeGone(node, now, goodbye) {
    super.nodeGone(node, now);
    for (const [watch, asking] of this.watches) {
      if (![...watch.here.keys()].some((key) => key.startsWith(node))) continue;
      watch.depart(node, goodbye);
      if (!goodbye) Object.assign(asking, { id: 0, at: now + LOST_MS, came: [] }); // until then another way may be found
    }
  }
}
