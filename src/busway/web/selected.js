/* Messages for what a selector means: whom that is, as the router says, and a copy for one of them or for each. */

import { BusError, ENDS, Undeliverable } from "./errors.js";
import * as codes from "./frames.js";
import { Selector } from "./selectors.js";

const FRESH_MS = 5000; // how long an answer counts
const KNOWN_MAX = 64; // selectors whose meaning is kept
const clock = () => Math.round(performance.now());

/** One question what a selector means, as Presence sees it. */
class Asking {
  constructor(selector, until, error) {
    this.selector = selector;
    this.error = error; // of a code
    this.expression = selector.expression;
    this.until = until; // until then an answer that names nobody is asked for again
    this.here = new Map();
    this.answered = false;
    this.wake = () => {};
    this.found = new Promise((resolve, reject) => Object.assign(this, { resolve, end: reject }));
    this.found.catch(() => {}); // it may end before somebody waits
  }

  answer(holders, now) {
    this.answered = true;
    if (holders.length) this.resolve(holders.map(shown));
    else if (now >= this.until) this.expire();
  }

  depart() {} // the next answer tells

  /** Nobody is meant, or nobody has said who. */
  expire() {
    this.end(this.error(this.answered ? codes.NO_ENDPOINT : codes.NO_ROUTE));
  }
}

const shown = ({ node, endpoint, name, metric, cost }) => ({
  node: node.slice(0, 32),
  endpoint,
  name,
  price: metric + cost,
});

/** Whether another may be tried: that one is gone, or cannot be reached, and nothing of the message was done. */
const isRetried = (error) =>
  error instanceof Undeliverable && [codes.NO_ENDPOINT, codes.NO_ROUTE].includes(error.code);

export class Selected {
  constructor(bus) {
    this.bus = bus;
    this.known = new Map(); // text of a selector -> {found, at}
    this.turn = 0;
  }

  /** The holders that a selector means, as of the last 5 s. Waits `ttl` seconds for the first.
      @throws {Undeliverable} there is none; {BusClosed}, {BusError} if the other side is of a version without. */
  async meant(selector, { timeout, ttl, signal }) {
    if (!(selector instanceof Selector))
      throw new TypeError(`a selector was expected, as in where("renderer"), not ${selector}`);
    const known = this.known.get(selector.text);
    if (known && clock() - known.at < FRESH_MS) return known.found;
    const error = (code) => this.bus._undeliverable(`${selector}`, code);
    const asking = new Asking(selector, clock() + ttl * 1000, error);
    const abort = () => asking.end(ENDS.cancelled());
    const timer = setTimeout(() => asking.expire(), timeout * 1000);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    asking.wake = () => this.look(asking);
    try {
      this.bus._look(asking);
      asking.wake();
      const found = await asking.found;
      this.note(selector, found);
      return found;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      this.bus._lookAway(asking);
    }
  }

  /** Something has happened to the bus: whether it can still be asked. */
  look(asking) {
    const { state } = this.bus;
    if (state === "closed") asking.end(this.bus._closed());
    else if (state === "connected" && this.bus._session?.addressing === false)
      asking.end(new BusError("the other side is of an older version, which is not asked for selectors"));
  }

  note(selector, found) {
    this.known.delete(selector.text);
    if (this.known.size >= KNOWN_MAX) this.known.delete(this.known.keys().next().value);
    this.known.set(selector.text, { found, at: clock() });
  }

  /** A message for that endpoint did not arrive: what it was meant by is asked anew. */
  gone(endpoint) {
    for (const [text, { found }] of this.known)
      if (found.some((holder) => holder.endpoint === endpoint)) this.known.delete(text);
  }

  /** The nearest first, equally near ones in turn. */
  inTurn(found) {
    const sorted = [...found].sort((one, other) => one.price - other.price);
    const near = sorted.filter(({ price }) => price === sorted[0].price).length;
    const at = this.turn++ % near;
    return [...sorted.slice(at, near), ...sorted.slice(0, at), ...sorted.slice(near)];
  }

  /** To the nearest, equally near ones in turn; to the next where one turns out to be gone, and nothing was done. */
  async toAny(kind, selector, value, how) {
    const copies = await this.copies(kind, selector, value, how);
    for (const [at, { endpoint, copy }] of this.inTurn(copies).entries()) {
      try {
        return await copy();
      } catch (error) {
        this.gone(endpoint);
        if (!isRetried(error) || at === copies.length - 1) throw error;
      }
    }
  }

  /** To each; what became of the copies. */
  async toAll(kind, selector, value, how) {
    const copies = await this.copies(kind, selector, value, how);
    const outcomes = copies.map(({ node, name, copy }) =>
      copy().then(
        () => ({ node, name }),
        (error) => ({ node, name, error }),
      ),
    );
    return Promise.all(outcomes);
  }

  /** Ask each; the answers as they come. */
  async *each(selector, value, { signal, ...how }) {
    const left = new AbortController();
    const leave = () => left.abort();
    if (signal?.aborted) leave();
    signal?.addEventListener("abort", leave);
    const came = [];
    let wake = () => {};
    try {
      const copies = await this.copies("request", selector, value, { ...how, signal: left.signal });
      for (const { node, name, copy } of copies)
        copy()
          .then(
            (answer) => came.push({ node, name, value: answer }),
            (error) => came.push({ node, name, error }),
          )
          .then(() => wake());
      for (let count = 0; count < copies.length; count++) {
        if (!came.length) await new Promise((resolve) => (wake = resolve));
        yield came.shift();
      }
    } finally {
      signal?.removeEventListener("abort", leave);
      leave();
    }
  }

  /** The holders that are meant, each with a function that sends it a copy. */
  async copies(kind, selector, value, how) {
    if (how.node) throw new RangeError("a selector picks the node itself: leave node out");
    const until = clock() + how.timeout * 1000;
    const found = await this.meant(selector, how);
    return found.map((holder) => {
      const copy = () => {
        const timeout = Math.max(1, until - clock()) / 1000;
        const where = { timeout, ttl: 0, node: holder.node, shown: holder.name || holder.endpoint };
        return this.bus._submit(kind, holder.endpoint, value, { ...how, ...where });
      };
      return { ...holder, copy };
    });
  }
}
