/* Which of this user's programs a node tries to join next. Opens no socket. */

import { BusError } from "../errors.js";
import { HELLO_TIMEOUT_MS } from "../codes.js";
import { objectionToSocket, places, sockets } from "./places.js";

const PATIENCE_MS = 250; // for who may be stopped, while others have not been asked; twice that in the next round
const TOLD_MAX = 256;

/** Programs are asked one after the other, in random order, so that they share the leaves; when all were asked, those who
    are there then. */
export class Finder {
  /** @param {string} bus its name. @param {string} url ipc:///path of the one that is to be joined, or "".
      @throws {TypeError} for another URL; and as `places`. */
  constructor(bus, url) {
    if (url && !url.startsWith("ipc:///")) throw new TypeError(`a URL as ipc:///path of a socket was expected, not ${url}`);
    places(); // so that what cannot be is an error now
    this.bus = bus;
    this.given = url.slice("ipc://".length);
    this.told = new Set();
    this.done();
  }

  /** Whether there is only one that may be joined. */
  get isGiven() {
    return this.given !== "";
  }

  /** Whether others have still to be asked. */
  get isBusy() {
    return this.left.length > 0;
  }

  /** One has been joined; when it is lost, all are asked anew. */
  done() {
    this.left = [];
    this.rounds = 0;
  }

  /** @returns {{path: string, patience: number, objection: string}} `path` "" if there is nobody, `objection` says why;
      `patience`, ms: how long its first word is waited for. */
  next() {
    if (this.isGiven) {
      const objection = objectionToSocket(this.given);
      return { path: objection ? "" : this.given, patience: HELLO_TIMEOUT_MS, objection };
    }
    let objection = "";
    if (!this.left.length) {
      this.rounds++;
      objection = this.look();
    }
    const path = this.left.pop() ?? "";
    const patience = this.left.length ? PATIENCE_MS * 2 ** (this.rounds - 1) : HELLO_TIMEOUT_MS;
    return { path, patience: Math.min(patience, HELLO_TIMEOUT_MS), objection };
  }

  /** All that are there; returns why there is nobody. */
  look() {
    const parents = places();
    const { paths, objections } = sockets(this.bus, parents);
    this.left = shuffled(paths);
    return [`no program of this user is on bus "${this.bus}" (${parents.join(", ")})`, ...objections].join("; ");
  }

  /** Say once that a program refuses us; false. */
  note(text) {
    if (this.told.size < TOLD_MAX && !this.told.has(text)) {
      this.told.add(text);
      console.warn(new BusError(`a program on this machine cannot be joined: ${text}`).message);
    }
    return false;
  }
}

function shuffled(items) {
  for (let at = items.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1));
    [items[at], items[other]] = [items[other], items[at]];
  }
  return items;
}
