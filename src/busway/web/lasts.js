/* The last values that came, by endpoint, publisher and name: so that none is handed over twice, and who subscribes
   here later gets them, too. Bounded: beyond it the oldest goes. Knows numbers, and nothing of links. */

import { CLEARED } from "./codes.js";

const COUNT_MAX = 4096;
const SIZE_MAX = 4 << 20; // bytes of their payloads, in all

export class Lasts {
  constructor() {
    this.size = 0;
    this.values = new Map(); // publisher, endpoint and name -> {number, event}, in the order in which they came
  }

  /** Whether it is newer than what came of its publisher to the endpoint under that name. */
  isNews(source, endpoint, name, retain) {
    const known = this.values.get(source + endpoint + name);
    return !known || retain % CLEARED > known.number;
  }

  /** It is the newest now; without an event there is none any more. */
  note(source, endpoint, name, retain, event) {
    const key = source + endpoint + name;
    this.drop(key);
    this.values.set(key, { source, endpoint, number: retain % CLEARED, event });
    this.size += sizeOf(event);
    while (this.values.size > COUNT_MAX || (this.size > SIZE_MAX && this.values.size > 1))
      this.drop(this.values.keys().next().value);
  }

  drop(key) {
    this.size -= sizeOf(this.values.get(key)?.event);
    this.values.delete(key);
  }

  /** The values for an endpoint, in the order in which they came. */
  of(endpoint) {
    const found = [...this.values.values()].filter(({ endpoint: whose, event }) => whose === endpoint && event);
    return found.map(({ event }) => event);
  }

  /** The publisher is gone, or nobody here has subscribed to the endpoint any more. */
  forget(which) {
    for (const [key, { source, endpoint }] of this.values) if ([source, endpoint].includes(which)) this.drop(key);
  }
}

const sizeOf = (event) => event?.payload.length ?? 0;
