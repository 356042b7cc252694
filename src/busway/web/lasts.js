/* The last values that came, by endpoint, publisher and name: so that none is handed over twice, and who subscribes
   here later gets them, too. Bounded: beyond it the oldest goes. Knows numbers, and nothing of links. */

import { concat, Reader, Refusal, varint } from "./codec.js";
import { CLEARED } from "./codes.js";

const COUNT_MAX = 4096;
const SIZE_MAX = 4 << 20; // bytes of their payloads, in all

export class Lasts {
  constructor() {
    this.size = 0;
    this.values = new Map(); // publisher, endpoint and name -> {number, event}, in the order in which they came
    this.floors = new Map(); // publisher and endpoint -> up to which number some were dropped for want of room
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
    while (this.values.size > COUNT_MAX || (this.size > SIZE_MAX && this.values.size > 1)) this.makeRoom();
  }

  makeRoom() {
    const [key, { source, endpoint, number }] = this.values.entries().next().value;
    this.floors.set(source + endpoint, Math.max(number, this.floors.get(source + endpoint) ?? 0));
    if (this.floors.size > COUNT_MAX) this.floors.delete(this.floors.keys().next().value);
    this.drop(key);
  }

  /** A publisher says which values it keeps, of those behind `after` and up to `through`: others are no more. Returns
      the numbers of those that are lacking here. */
  compare(source, endpoint, after, through, numbers) {
    const lacking = new Set(numbers);
    for (const [key, value] of this.values) {
      if (value.source !== source || value.endpoint !== endpoint) continue;
      if (value.number <= after || value.number > through || lacking.delete(value.number)) continue;
      this.size -= sizeOf(value.event);
      this.values.set(key, { ...value, event: undefined });
    }
    const floor = this.floors.get(source + endpoint) ?? 0;
    return [...lacking].filter((number) => number > floor);
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
    for (const key of this.floors.keys()) if (key.startsWith(which) || key.endsWith(which)) this.floors.delete(key);
  }
}

/** Ascending numbers, each as what it is more than the one before. */
export const writeAscending = (numbers) =>
  concat(...numbers.map((number, at) => varint(number - (at ? numbers[at - 1] : 0))));

/** The same read; none if they are no such numbers, for who wrote them may be far away. */
export function readAscending(payload) {
  const reader = new Reader(payload);
  const numbers = [];
  try {
    while (reader.left) numbers.push(reader.varint() + (numbers.at(-1) ?? 0));
  } catch (error) {
    if (error instanceof Refusal) return [];
    throw error;
  }
  return numbers;
}

const sizeOf = (event) => event?.payload.length ?? 0;
