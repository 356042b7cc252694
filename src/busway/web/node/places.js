/* Where the sockets of this user's programs are (docs/protocol.md, section 13.3), and which of them may be trusted.

   Node cannot ask a socket whose process is at its other end. It need not: only this user, and root, can put a socket
   into a directory that passes `objectionTo`. Opens none. */

import { createHash } from "node:crypto";
import { lstatSync, readdirSync } from "node:fs";
import { dirname, isAbsolute, join, normalize } from "node:path";
import process from "node:process";

import { BusError } from "../errors.js";

const PATH_SIZE_MAX = 99; // bytes
const SPARE = /^-[0-9a-f]{16}$/;
const SOCKET = /^[0-9a-f]{32}\.sock$/;

const own = () => process.geteuid?.() ?? -1; // which Windows has not
const found = (path) => lstatSync(path, { throwIfNoEntry: false });

/** The directories in which sockets of this user's programs may be, whether they are there or not.
    @throws {BusError} on a system without; {RangeError} for a BUSWAY_DIR that cannot be. */
export function places({ env = process.env, uid = own(), temporary = "/tmp", run = "/run/user" } = {}) {
  if (uid < 0) throw new BusError('no Unix sockets of Busway on this system: connect to a listener, by import from "busway"');
  const chosen = env.BUSWAY_DIR ?? "";
  if (chosen && !isAbsolute(chosen))
    throw new RangeError(`BUSWAY_DIR must be an absolute path, not ${chosen}: programs start in different directories`);
  if (chosen) return [normalize(chosen)];
  const runtime = found(`${run}/${uid}`);
  const first = runtime?.isDirectory() && runtime.uid === uid ? [`${run}/${uid}/busway`] : [];
  const usual = `busway-${uid}`;
  const spare = namesIn(temporary).filter((name) => name.startsWith(usual) && SPARE.test(name.slice(usual.length)));
  return [...first, join(temporary, usual), ...spare.sort().map((name) => join(temporary, name))];
}

/** Why others could put sockets into a directory, and what to do; "" if they could not, or it is not there. */
export function objectionTo(path, uid = own()) {
  const what = found(path);
  if (!what) return "";
  const mode = what.mode & 0o777;
  if (!what.isDirectory()) return `${path} is not a directory: remove it`;
  if (what.uid !== uid) return `${path} belongs to user ${what.uid} and you are user ${uid}: have it removed`;
  if (what.mode & 0o1000 && mode !== 0o700)
    return `${path} has mode 0${(what.mode & 0o1777).toString(8)}, expected 0700: others use it, too, so choose a directory of your own (BUSWAY_DIR)`;
  if (mode !== 0o700) return `${path} has mode 0${mode.toString(8)}, expected 0700: run \`chmod 700 ${path}\``;
  return "";
}

/** The sockets of a bus, dead ones included, in all places that nobody else can write to, and what is wrong with others.
    @returns {{paths: string[], objections: string[]}} @throws as `places`. */
export function sockets(bus, parents = places()) {
  const folder = createHash("sha256").update(bus).digest("hex").slice(0, 16);
  const objections = [];
  const paths = parents.flatMap((parent) => {
    const path = join(parent, folder);
    const objection = objectionTo(parent) || objectionTo(path);
    if (objection) objections.push(objection);
    return objection ? [] : namesIn(path).filter((name) => SOCKET.test(name)).map((name) => join(path, name));
  });
  return { paths: paths.filter((path) => !objectionToSocket(path)), objections };
}

/** Why nobody should connect there; "" if one may. */
export function objectionToSocket(path, uid = own()) {
  const size = Buffer.byteLength(path);
  if (size > PATH_SIZE_MAX)
    return `the path of a socket may have ${PATH_SIZE_MAX} bytes, ${path} has ${size}: choose a shorter BUSWAY_DIR`;
  const objection = objectionTo(dirname(path), uid);
  if (objection) return objection;
  const what = found(path);
  if (!what) return `${path} is not there`;
  return what.isSocket() && what.uid === uid ? "" : `${path} is not a socket of user ${uid}`;
}

function namesIn(path) {
  try {
    return readdirSync(path);
  } catch {
    return []; // not there, or taken away just now
  }
}
