/* What calls of the client are given: names, options and labels, looked at before anything is done. */

import { hex, utf8, uuidOf } from "./codec.js";
import * as codes from "./frames.js";
import { isPattern } from "./patterns.js";

const PATTERN = /(^|[/.])[#+>]($|[/.])/; // what other systems take for "any"
const REMARKED_MAX = 1024;
const SECONDS_MAX = 2_000_000; // a timer of browsers takes 2 ** 31 ms
const remarked = new Set(); // names that this was said of

/** As `uuidOf`, of a name, or with `pattern` also of a pattern; says once of a name that looks like one of other systems
    that it is none. @throws {RangeError} for a * where none may be. */
export function idOf(name, pattern = false) {
  const uuid = uuidOf(name);
  if (name.includes("*") && !isPattern(name))
    throw new RangeError(`"${name}" has a * within a level: a * stands for one whole level, ** for any number of them`);
  if (name.includes("*") && !pattern)
    throw new RangeError(`"${name}" is a pattern, to subscribe to: here the name of one endpoint was expected`);
  if (PATTERN.test(name) && !remarked.has(name) && remarked.size < REMARKED_MAX) {
    remarked.add(name);
    console.warn(`"${name}" is the name of one endpoint and matches no others: patterns are written with * and **`);
  }
  return uuid;
}

/** The options of a call, which must be among `defaults`: those that are not given are as there.
    @throws {TypeError} for a name or a type that is none, {RangeError} for a time that is none. */
export function taken(options, defaults) {
  const known = Object.keys(defaults);
  for (const [name, value] of Object.entries(options)) {
    if (!known.includes(name)) throw new TypeError(`there is no option ${name}: there are ${known.join(", ")}`);
    if (value !== undefined) checkOption(name, value, defaults[name]);
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) };
}

export function checkOption(name, value, usual) {
  if (name === "signal") {
    if (value !== null && typeof value.addEventListener !== "function")
      throw new TypeError(`signal: an AbortSignal was expected, not ${value}`);
  } else if (usual !== undefined && usual !== null && typeof value !== typeof usual)
    throw new TypeError(`${name}: a ${typeof usual} was expected, not ${value} (${typeof value})`);
  if (name === "priority" && !codes.PRIORITIES.includes(value))
    throw new RangeError(`priority: one of ${codes.PRIORITIES.join(", ")} was expected, not ${value}`);
  const least = name === "ttl" ? value >= 0 : value > 0;
  if (["timeout", "ttl", "keepalive"].includes(name) && !(least && value <= SECONDS_MAX))
    throw new RangeError(
      `${name} in seconds ${name === "ttl" ? "from" : "above"} 0 to ${SECONDS_MAX} was expected, not ${value}`,
    );
}

/** As they travel: each once, in the order of their bytes. @throws {TypeError|RangeError} */
export function labelsOf(labels) {
  const given = [...new Set(labels)];
  if (given.some((label) => typeof label !== "string"))
    throw new TypeError("labels: an array or a Set of strings was expected");
  const sized = given.map((label) => [label, utf8.encode(label)]);
  if (sized.length > codes.LABELS_MAX || sized.some(([, { length }]) => !length || length > codes.LABEL_SIZE_MAX))
    throw new RangeError(
      `labels: at most ${codes.LABELS_MAX} were expected, of 1 to ${codes.LABEL_SIZE_MAX} bytes of UTF-8 each`,
    );
  return sized.sort(([, one], [, other]) => (hex(one) < hex(other) ? -1 : 1)).map(([label]) => label);
}
