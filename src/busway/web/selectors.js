/* Selectors: whom a message is for by what a receiver is, instead of by a name (docs/protocol.md, section 4.4).

   Builds expressions; what they mean a router says. */

import { concat, text8 } from "./codec.js";
import { idOf, labelsOf } from "./options.js";

const [LABEL, NAME, AND, OR, NOT] = [1, 2, 3, 4, 5]; // terms
const TERMS_MAX = 64;
const SIZE_MAX = 512; // bytes

/** Never changes; made by `where`. */
export class Selector {
  constructor(expression, terms, text) {
    if (terms > TERMS_MAX || expression.length > SIZE_MAX)
      throw new RangeError(`a selector has at most ${TERMS_MAX} labels, names and operators, and ${SIZE_MAX} bytes`);
    this.expression = expression;
    this.terms = terms;
    this.text = text;
  }

  /** By its name: whether it is that, or fits that pattern. */
  static named(pattern) {
    idOf(pattern, true);
    return new Selector(concat(Uint8Array.of(NAME), text8(pattern)), 1, `name:${quoted(pattern)}`);
  }

  static labelled(label) {
    labelsOf([label]);
    return new Selector(concat(Uint8Array.of(LABEL), text8(label)), 1, quoted(label));
  }

  /** What both mean. */
  and(other) {
    return this._with(other, AND, "and");
  }

  /** What one of them means. */
  or(other) {
    return this._with(other, OR, "or");
  }

  /** What it does not mean. */
  not() {
    return new Selector(concat(this.expression, Uint8Array.of(NOT)), this.terms + 1, `not ${this._bracketed()}`);
  }

  _with(other, term, word) {
    if (!(other instanceof Selector))
      throw new TypeError(`a selector was expected behind ${word}, as in where("renderer"), not ${other}`);
    const text = `${this._bracketed()} ${word} ${other._bracketed()}`;
    return new Selector(
      concat(this.expression, other.expression, Uint8Array.of(term)),
      this.terms + other.terms + 1,
      text,
    );
  }

  _bracketed() {
    return this.terms > 1 ? `(${this.text})` : this.text;
  }

  toString() {
    return this.text;
  }
}

/** The endpoints that have all these labels: `where("renderer")`, `where("renderer", "gpu")`. By what they are called:
    `where.name("render/1")`, `where.name("render/*")`. Joined by `and`, `or` and `not`, as in
    `where("renderer").and(where("codec").not())`.
    @returns {Selector} @throws {TypeError|RangeError} */
export function where(...labels) {
  if (!labels.length) throw new TypeError('a label was expected, as in where("renderer")');
  return labels.map((label) => Selector.labelled(label)).reduce((all, next) => all.and(next));
}
Object.defineProperty(where, "name", { value: (pattern) => Selector.named(pattern) }); // which functions have, too

const quoted = (text) => (/^[^\s()"':]+$/.test(text) && !["and", "or", "not"].includes(text) ? text : JSON.stringify(text));
