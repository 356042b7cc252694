/* A subscription that wants what holds now: while its callback is at work, of each origin only the newest waits.

   Knows no bus: what hands a message to the callback is given to it. */

const ORIGINS_MAX = 4096; // of how many origins, or names of theirs, one waits

/** What a newer one replaces: by a pattern one origin has any number of names. */
const keyOf = ({ source, name }) => `${source} ${name}`;

export class Latest {
  /** @param hand function of an event; the promise it returns ends when the callback has, and never fails. */
  constructor(hand) {
    this.hand = hand;
    this.waiting = new Map(); // source and name -> event, in order of their first
    this.lost = new Map(); // source and name -> how many had no place
    this.atWork = false;
  }

  /** Take a message; `missed` of what is handed over counts those that it has replaced. */
  put(event) {
    const key = keyOf(event);
    const older = this.waiting.get(key);
    if (!older && this.waiting.size >= ORIGINS_MAX) return this.lose(event);
    const before = older ? older.missed + 1 : (this.lost.get(key) ?? 0);
    this.lost.delete(key);
    this.waiting.set(key, { ...event, missed: before + event.missed });
    if (!this.atWork) this.work();
  }

  lose(event) {
    const key = keyOf(event);
    if (this.lost.has(key) || this.lost.size < ORIGINS_MAX)
      this.lost.set(key, (this.lost.get(key) ?? 0) + 1 + event.missed);
  }

  async work() {
    this.atWork = true;
    await undefined; // until all that came with it are here
    for (const [key, event] of this.waiting) {
      this.waiting.delete(key);
      await this.hand(event);
    }
    this.atWork = false;
  }

  /** The callback is called no more. */
  close() {
    this.waiting.clear();
  }
}
