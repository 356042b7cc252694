/* The frames of the Busway protocol (docs/protocol.md, sections 2 to 7): bytes to fields, and back.

   Knows no state of a link but its tables of aliases. */

// prettier-ignore
import {
  BAD_VERSION, CANCEL, CLEARED, CONFIRM, CREDIT, DIRECTORY, END, ERROR, GLOBAL, GRAFT, HANDSHAKE, HAVE, HELLO, HOLDERS_MAX,
  LABELS_MAX, LANE_MAX, MALFORMED, NORMAL, NOT_BUSWAY, OPENING_CREDIT, PART, PART_CREDIT, PROBE, PRUNE, PUBLISH, RAW, REQUEST,
  SELECT, SELECTED, SIGNAL, TRACE, TRACED, TYPED, UNDELIVERABLE, UNICAST, UNKNOWN_ALIAS, VERSION,
} from "./codes.js";
import { hex, lenient, Reader, Refusal, text8, u16, u32, unhex, utf8, varint, concat } from "./codec.js";

export * from "./codes.js";

// Of the client alone.
export const RECEIVE_WINDOW_MAX = 256,
  ASKED_MAX = 256,
  SERVING_MAX = 1024,
  ADDRESSING = 4, // of the features in HELLO
  STREAM_WINDOW_MAX = 0x7fff,
  REALMS = ["process", "userspace", "localnet", "global"],
  PRIORITIES = ["low", "normal", "high", "urgent"];

// Signals about the messages to an address: an endpoint, and the lane of its messages.
const OF_ADDRESSES = [CREDIT, PROBE, UNDELIVERABLE];

/** What a pair is known by (protocol 5.2): the uuid, and the lane byte of option LANE unless that is NORMAL, for
    messages of another priority have numbers and credit of their own. */
export const addressOf = (endpoint, lane) => (lane === NORMAL ? endpoint : endpoint + hex([lane]));

/** The numbers of one direction of a session (protocol 5.1), as their reader keeps them. */
export class AliasReader {
  constructor(most, size = 16, fixed = []) {
    this.most = most;
    this.size = size;
    this.fixed = fixed.length;
    this.ids = [undefined, ...fixed];
  }
  read(reader) {
    const bound = reader.left && reader.data[reader.pos] === 0;
    if (bound) reader.u8();
    const number = reader.varint();
    if (bound) {
      if (number <= this.fixed || number > this.most)
        throw new Refusal(UNKNOWN_ALIAS, `number ${number} cannot be bound`);
      this.ids[number] = hex(reader.take(this.size));
    }
    const id = this.ids[number];
    if (id === undefined) throw new Refusal(UNKNOWN_ALIAS, `number ${number} was never bound`);
    return id;
  }
}

/** The same as their writer keeps them: the next number in turn when all are given. */
export class AliasWriter {
  constructor(most, fixed = []) {
    this.most = most;
    this.first = fixed.length + 1;
    this.next = this.first;
    this.ids = [undefined, ...fixed];
    this.numbers = new Map(fixed.map((id, at) => [id, at + 1]));
  }
  write(id) {
    const known = this.numbers.get(id);
    if (known) return varint(known);
    const number = this.next;
    this.next = number < this.most ? number + 1 : this.first;
    if (this.ids[number] !== undefined) this.numbers.delete(this.ids[number]);
    this.ids[number] = id;
    this.numbers.set(id, number);
    return [0, ...varint(number), ...unhex(id)];
  }
}

// ---------------------------------------------------------------------------------------------- frames

export const framed = (body) => concat(varint(body.length), body);

const start = (head) => [head, ...utf8.encode("BSWY"), VERSION];

/** The body of the first HANDSHAKE, of a pattern and its message. */
export const encodeHandshake = (rest) => Uint8Array.from([...start(HANDSHAKE), ...rest]);

/** The body of a HELLO; the fields are named as in tests/vectors/setup.json, the realm is a number. */
export function encodeHello(hello) {
  const flags =
    (hello.leaf ? 1 : 0) | (hello.realm << 1) | (hello.dialled ? 8 : 0) | (hello.lookups ? 32 : 0);
  const limits = [
    hello.features ?? 0,
    hello.frame_size_max,
    hello.message_size_max,
    hello.aliases_max,
    hello.partials_max,
    hello.keepalive_ms,
  ];
  return Uint8Array.from([
    ...start(HELLO),
    flags,
    ...unhex(hello.node + hello.incarnation),
    ...limits.flatMap(varint),
    ...text8(hello.bus),
    ...text8(hello.label),
    ...text8(hello.via),
  ]);
}

/** What HELLO begins with: the magic and the version. */
export function checkVersion(reader) {
  if (reader.left < 4 || lenient.decode(reader.take(4)) !== "BSWY")
    throw new Refusal(NOT_BUSWAY, "the other side does not speak Busway");
  const version = reader.u8();
  if (version !== VERSION)
    throw new Refusal(
      BAD_VERSION,
      `this side speaks protocol version ${VERSION}, the other ${version}: update the older one`,
    );
  return version;
}

export function decodeHello(reader) {
  const version = checkVersion(reader);
  const flags = reader.u8();
  const hello = {
    version,
    leaf: !!(flags & 1),
    realm: (flags >> 1) & 3,
    dialled: !!(flags & 8),
    lookups: !!(flags & 32),
  };
  if (!hello.realm) throw new Refusal(MALFORMED, "a link's realm cannot be PROCESS");
  hello.node = hex(reader.take(16));
  hello.incarnation = hex(reader.take(4));
  for (const name of [
    "features",
    "frame_size_max",
    "message_size_max",
    "aliases_max",
    "partials_max",
    "keepalive_ms",
  ]) {
    hello[name] = reader.varint();
  }
  for (const name of ["bus", "label", "via"]) hello[name] = reader.text8();
  while (reader.left) {
    reader.u8(); // options: none is defined yet
    reader.take(reader.u8());
  }
  return hello;
}

/** DIRECTORY of our own line (protocol 4); entries are {endpoint, kind (0 to 3), credit, cost, name, labels}. */
export function encodeDirectory({
  realm = GLOBAL,
  leaf = true,
  label,
  more = false,
  base,
  version,
  entries,
}) {
  const head = realm | (label === undefined ? 0 : 4) | (leaf ? 16 : 0) | (more ? 32 : 0);
  const body = [
    DIRECTORY,
    head,
    1,
    ...(label === undefined ? [] : text8(label)),
    ...varint(base),
    ...varint(version),
  ];
  for (const { endpoint, kind, credit = OPENING_CREDIT, cost = 0, name = "", labels = [] } of entries) {
    const items = labels.flatMap((label) => [1, ...text8(label)]);
    const extension = items.length && [...varint(items.length), ...items];
    const parts = kind
      ? [credit !== OPENING_CREDIT && varint(credit), cost && varint(cost), name && text8(name), extension]
      : [];
    body.push(
      parts.reduce((bits, part, at) => bits | (part ? 16 << at : 0), kind),
      ...unhex(endpoint),
    );
    for (const part of parts) if (part) body.push(...part);
  }
  return Uint8Array.from(body);
}

/** A change of our line in as many DIRECTORY frames as it takes; fields as of `encodeDirectory`. */
export function encodeChange({ realm, label, base, version, entries }, frameMax) {
  const bodies = [];
  let at = 0;
  do {
    const start = at;
    for (let room = frameMax - 90; at < entries.length; at++) {
      room -= sizeMax(entries[at]);
      if (room < 0 && at > start) break;
    }
    const some = entries.slice(start, at);
    const more = at < entries.length;
    const told = { realm, more, base, version, entries: some };
    bodies.push(encodeDirectory({ ...told, label: start ? undefined : label }));
  } while (at < entries.length);
  return bodies;
}

/** More bytes than an entry takes. */
const sizeMax = ({ labels = [] }) => 92 + labels.reduce((size, label) => size + 2 + utf8.encode(label).length, 2);


/** The holders of HAVE that are in no conflict with the first (4.3), and of them the cheapest. */
export function cheapest(holders, node) {
  const real = holders.filter((holder) => holder.kind && holder.node.startsWith(node));
  const able = real[0]?.kind === UNICAST ? [real[0]] : real.filter(({ kind }) => kind === real[0].kind);
  const price = ({ metric, cost }) => (metric >> 14) * 2 ** 20 + (metric & 0x3fff) + cost;
  const least = Math.min(...able.map(price));
  return able.filter((holder) => price(holder) === least);
}

/** DIRECTORY as a leaf reads it, for its numbers and its faults; `reader` stands behind the head. */
export function readDirectory(reader, nodes) {
  const head = reader.u8();
  nodes.read(reader);
  if (head & 4) reader.text8();
  reader.varint();
  reader.varint();
  if (!(head & 3)) throw new Refusal(MALFORMED, "a line of realm PROCESS");
  while (reader.left) {
    const entry = reader.u8();
    if (entry & 0x0c || (entry && !(entry & 3)))
      throw new Refusal(MALFORMED, "an entry with an unknown layout");
    reader.take(16);
    if (entry & 16) reader.varint();
    if (entry & 32) reader.varint();
    if (entry & 64) reader.text8();
    if (entry & 128) reader.take(reader.varint()); // labels and a last word
  }
}

/** Everything of a message up to its payload (protocol 5); `reader` stands behind the head. */
export function readHeader(head, reader, aliases, nodes) {
  const header = {
    kind: (head >> 4) & 7,
    format: head & 3,
    routed: !!(head & 8),
    realm: 0,
    hops: 255,
    number: 0,
    id: 0,
    lane: NORMAL,
  };
  if (header.routed) readRoute(reader, header, nodes);
  if (head & 4) readOptions(reader, header);
  if (header.kind >= ERROR && header.format)
    throw new Refusal(MALFORMED, "an error or signal with a payload format");
  if (header.kind === SIGNAL) {
    readSignal(reader, header, aliases, nodes);
    if (OF_ADDRESSES.includes(header.signal)) header.address = addressOf(header.endpoint, header.lane);
    return header;
  }
  if (header.kind <= REQUEST) {
    header.endpoint = aliases.read(reader);
    header.address = addressOf(header.endpoint, header.lane);
    header.number = reader.u16();
  }
  if (header.kind >= CONFIRM) header.id = positive(reader.varint(), "an id");
  if (header.kind === CONFIRM || header.kind === REQUEST)
    header.timeoutMs = positive(reader.varint(), "a timeout");
  if (header.kind === PART) header.number = reader.u16();
  if (header.kind === ERROR) header.code = reader.varint();
  if (header.format === TYPED) header.type = aliases.read(reader);
  return header;
}

function positive(value, what) {
  if (!value) throw new Refusal(MALFORMED, `${what} of 0`);
  return value;
}

function readRoute(reader, header, nodes) {
  const how = reader.u8();
  if (how & 0xf0) throw new Refusal(MALFORMED, "a routing header with an unknown layout");
  header.realm = how & 3;
  header.hops = reader.u8();
  if (how & 4) header.destination = nodes.read(reader);
  if (how & 8) header.source = nodes.read(reader);
}

function readOptions(reader, header) {
  const size = reader.varint();
  const options = new Reader(reader.take(size));
  while (options.left) {
    const which = options.u8();
    const value = new Reader(options.take(options.u8()));
    if (which === 1 && header.kind !== SIGNAL) {
      if (value.left !== 5 || header.cut)
        throw new Refusal(MALFORMED, "option CUT has not 5 bytes, or comes twice");
      header.cut = { partial: value.u8(), size: value.u32() };
    } else if (which === 2 && header.kind === REQUEST) {
      if (value.left !== 2 || header.window)
        throw new Refusal(MALFORMED, "option STREAM has not 2 bytes, or comes twice");
      header.window = positive(value.u16(), "a stream window");
    } else if (which === 3 && header.kind <= PUBLISH) {
      header.bestEffort = true;
    } else if (which === 4 && header.kind === PUBLISH) {
      const realm = value.left === 1 ? value.u8() : 1;
      header.reach = Math.min(header.reach ?? 3, realm >= 1 && realm <= 3 ? realm : 1);
    } else if (which === 5) readLane(value, header);
    else if (which === 6 && (header.kind <= PUBLISH || header.kind === SIGNAL)) {
      if (!value.left || value.left > 64 || header.name)
        throw new Refusal(MALFORMED, "option NAME has not 1 to 64 bytes, or comes twice");
      header.name = value.text(value.left);
    } else if (which === 7 && (header.kind <= PUBLISH || header.kind === REQUEST)) {
      if (value.left !== 4 || header.retain)
        throw new Refusal(MALFORMED, "option RETAIN has not 4 bytes, or comes twice");
      header.retain = value.u32();
      if (!(header.retain % CLEARED)) throw new Refusal(MALFORMED, "a retained message of number 0");
    }
  }
}

function readLane(value, header) {
  const lane = value.left === 1 ? value.u8() : NORMAL;
  if (lane === NORMAL || lane > LANE_MAX || header.lane !== NORMAL)
    throw new Refusal(MALFORMED, "option LANE is not one byte 0 or 2 to 7, or comes twice");
  header.lane = lane;
}

function readSignal(reader, header, aliases, nodes) {
  const signal = (header.signal = reader.u8());
  if (signal < CANCEL || signal > SELECTED) return; // unknown: skipped with all that follows
  if ([CANCEL, PART_CREDIT, END, TRACE, TRACED, SELECT, SELECTED].includes(signal))
    header.id = positive(reader.varint(), "an id");
  else header.endpoint = aliases.read(reader);
  if ([CREDIT, PROBE, PART_CREDIT, UNDELIVERABLE, END].includes(signal)) header.number = reader.u16();
  if (signal === UNDELIVERABLE) header.code = reader.u8();
  if (signal === PRUNE || signal === GRAFT) header.node = nodes.read(reader);
  if (signal === SELECTED) header.flags = reader.u8();
  if (signal === HAVE || signal === SELECTED)
    header.holders = readHolders(reader, nodes, signal === SELECTED ? aliases : undefined);
  if (signal !== TRACED && signal !== SELECT) reader.finish();
}

/** The holders of HAVE; with `aliases` those of SELECTED, each of an endpoint of its own. */
function readHolders(reader, nodes, aliases) {
  const holders = [];
  while (reader.left) {
    const head = reader.u8();
    if (holders.length === HOLDERS_MAX) throw new Refusal(MALFORMED, "more than 16 holders");
    const holder = {
      node: nodes.read(reader),
      endpoint: aliases?.read(reader),
      kind: head & 3,
      realm: (head >> 2) & 3,
      metric: reader.u16(),
      name: "",
    };
    holder.credit = head & 16 ? reader.varint() : OPENING_CREDIT;
    holder.cost = head & 32 ? reader.varint() : 0;
    if (head & 64) holder.name = reader.text8();
    holder.labels = head & 128 ? readLabels(new Reader(reader.take(reader.varint()))) : [];
    holders.push(holder);
  }
  return holders;
}

/** The labels in an extension; what else there is, or is wrong with it, a leaf need not know. */
function readLabels(reader) {
  const labels = [];
  while (reader.left > 1) {
    const [type, size] = [reader.u8(), reader.u8()];
    const value = reader.take(Math.min(size, reader.left));
    if (type === 1 && labels.length < LABELS_MAX) labels.push(lenient.decode(value));
  }
  return labels;
}

/** The bytes before the payload; fields as of `readHeader`, `destination` where it is not the neighbour. */
export function writeHeader(header, aliases, nodes) {
  const { kind, format = RAW, cut, window, bestEffort, reach, lane = NORMAL, name, retain } = header;
  const routed = header.routed || header.destination !== undefined || header.source !== undefined;
  const options = [
    ...(window ? [2, 2, ...u16(window)] : []),
    ...(bestEffort ? [3, 0] : []),
    ...(reach ? [4, 1, reach] : []),
    ...(name ? [6, ...text8(name)] : []),
    ...(retain ? [7, 4, ...u32(retain)] : []),
    ...(cut ? [1, 5, cut.partial, ...u32(cut.size)] : []),
    ...(lane === NORMAL ? [] : [5, 1, lane]),
  ];
  const out = [0x80 | (kind << 4) | (routed ? 8 : 0) | (options.length ? 4 : 0) | format];
  if (routed) {
    out.push(
      (header.realm ?? 0) | (header.destination ? 4 : 0) | (header.source ? 8 : 0),
      header.hops ?? 255,
    );
    for (const node of [header.destination, header.source]) if (node) out.push(...nodes.write(node));
  }
  if (options.length) out.push(...varint(options.length), ...options);
  if (kind === SIGNAL) out.push(header.signal);
  if (header.endpoint !== undefined) out.push(...aliases.write(header.endpoint));
  if (kind <= REQUEST) out.push(...u16(header.number));
  if (header.id) out.push(...varint(header.id));
  if (kind === CONFIRM || kind === REQUEST) out.push(...varint(header.timeoutMs));
  if (
    kind === PART ||
    (kind === SIGNAL && [CREDIT, PROBE, PART_CREDIT, UNDELIVERABLE, END].includes(header.signal))
  ) {
    out.push(...u16(header.number));
  }
  if (kind === ERROR) out.push(...varint(header.code));
  if (kind === SIGNAL && header.signal === UNDELIVERABLE) out.push(header.code);
  if (kind === SIGNAL && header.node !== undefined) out.push(...nodes.write(header.node));
  if (format === TYPED) out.push(...aliases.write(header.type));
  return Uint8Array.from(out);
}
