/* A subscription that wants what holds now: while its callback is at work, of each origin only the newest waits.

   Knows no bus: what hands a message to the callback is given to it. */

const ORIGINS_MAX = 4096; // of how many origins one waits

export class Latest {
  /** @param hand function of an event; the promise it returns ends when the callback has, and never fails. */
  constructor(hand) {
    this.hand = hand;
    this.waiting = new Map(); // source -> event, in order of their first
    this.lost = new Map(); // source -> how many had no place
    this.atWork = false;
  }

  /** Take a message; `missed` of what is handed over counts those that it has replaced. */
  put(event) {
    const { source } = event;
    const older = this.waiting.get(source);
    if (!older && this.waiting.size >= ORIGINS_MAX) return this.lose(event);
    const before = older ? older.missed + 1 : (this.lost.get(source) ?? 0);
    this.lost.delete(source);
    this.waiting.set(source, { ...event, missed: before + event.missed });
    if (!this.atWork) this.work();
  }

  lose({ source, missed }) {
    if (this.lost.has(source) || this.lost.size < ORIGINS_MAX)
      this.lost.set(source, (this.lost.get(source) ?? 0) + 1 + missed);
  }

  async work() {
    this.atWork = true;
    await undefined; // until all that came with it are here
    for (const [source, event] of this.waiting) {
      this.waiting.delete(source);
      await this.hand(event);
    }
    this.atWork = false;
  }

  /** The callback is called no more. */
  close() {
    this.waiting.clear();
  }
}
