// Protected links of the JavaScript client: its cryptography by the vectors of RFCs and of others and beside node's own,
// golden handshakes, and somebody who changes what travels. Run by tests/web/test_codec.py, under node.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";

import { chacha20, open, poly1305, seal } from "../../src/busway/web/chacha20poly1305.js";
import { hex, unhex } from "../../src/busway/web/codec.js";
import { encodeHello, framed } from "../../src/busway/web/frames.js";
import { Connection } from "../../src/busway/web/leaf.js";
import { Handshake, hkdf } from "../../src/busway/web/noise.js";
import { publicKey, x25519 } from "../../src/busway/web/x25519.js";
import * as other from "./responder.mjs";

const load = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), "utf8"));
const zeros = (size) => "00".repeat(size);
const bytesOf = (text) => new TextEncoder().encode(text);

const NOTHING = new Uint8Array(0);
const SUNSCREEN = bytesOf(
  "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
);
const count = (from, size) => Uint8Array.from({ length: size }, (_, at) => from + at);
const same = (found, wanted, what) => assert.equal(hex(found), hex(wanted), what);

test("X25519: RFC 7748, sections 5.2 and 6.1", () => {
  const known = [
    [
      "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
      "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
      "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ],
    [
      "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
      "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
      "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ],
    [
      "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
      "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
      "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    ],
  ];
  for (const [scalar, u, wanted] of known) assert.equal(hex(x25519(unhex(scalar), unhex(u))), wanted);
  const bob = unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  assert.equal(hex(publicKey(bob)), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  let [scalar, u] = [unhex("09" + zeros(31)), unhex("09" + zeros(31))];
  for (let times = 1; times <= 1000; times++) {
    [scalar, u] = [x25519(scalar, u), scalar];
    if (times === 1)
      assert.equal(hex(scalar), "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
  }
  assert.equal(hex(scalar), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
});

// p - 1, p, p + 1, and so on: numbers of 255 bits that are not below p, or nearly so; and the same with the 256th bit.
const edges = () => {
  const found = [];
  for (let low = 0xda; low <= 0xff; low++)
    for (const high of ["7f", "ff"]) found.push(unhex(low.toString(16) + "ff".repeat(30) + high));
  for (const low of ["02", "08", "09", "ff"]) found.push(unhex(low + zeros(31)));
  return found;
};
// Section 6.1 of the RFC: with these the secret is zero, whoever has which key.
const LOW_ORDER = [
  zeros(32),
  "01" + zeros(31),
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
];

test("X25519 beside node's own", () => {
  const draws = Array.from({ length: 100 }, () => randomBytes(32));
  const keys = [...draws, ...edges()].filter((u) => !LOW_ORDER.includes(hex(u)));
  for (const u of keys) {
    const scalar = randomBytes(32);
    let wanted;
    try {
      wanted = other.shared(scalar, u);
    } catch {
      wanted = new Uint8Array(32); // of low order
    }
    same(x25519(scalar, u), wanted, `${hex(scalar)} times ${hex(u)}`);
    same(publicKey(scalar), other.publicOf(scalar));
  }
  for (const u of LOW_ORDER) {
    assert.throws(() => other.shared(randomBytes(32), unhex(u)), u);
    assert.equal(hex(x25519(randomBytes(32), unhex(u))), zeros(32), u);
  }
});

test("ChaCha20: RFC 8439, sections 2.3.2 and 2.4.2", () => {
  assert.equal(
    hex(chacha20(count(0, 32), unhex("000000090000004a00000000"), 1, new Uint8Array(64))),
    "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
  );
  assert.equal(
    hex(chacha20(count(0, 32), unhex("000000000000004a00000000"), 1, SUNSCREEN)),
    "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8" +
      "07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af90bbf74a35be6b40b8eedf2785e42874d",
  );
});

test("Poly1305: RFC 8439, appendix A.3, where carries are seldom", () => {
  const ff = "ff".repeat(16);
  const vectors = [
    ["02" + zeros(31), ff, "03" + zeros(15)],
    ["02" + zeros(15) + ff, "02" + zeros(15), "03" + zeros(15)],
    ["01" + zeros(31), ff + "f0" + "ff".repeat(15) + "11" + zeros(15), "05" + zeros(15)],
    ["01" + zeros(31), ff + "fb" + "fe".repeat(15) + "01".repeat(16), zeros(16)],
    ["02" + zeros(31), "fd" + "ff".repeat(15), "fa" + "ff".repeat(15)],
    [
      "0100000000000000" + "0400000000000000" + zeros(16),
      "e33594d7505e43b900000000000000003394d7505e4379cd01" + zeros(23) + "01" + zeros(15),
      "14000000000000005500000000000000",
    ],
    [
      "0100000000000000" + "0400000000000000" + zeros(16),
      "e33594d7505e43b900000000000000003394d7505e4379cd01" + zeros(23),
      "13" + zeros(15),
    ],
  ];
  for (const [key, message, tag] of vectors)
    assert.equal(hex(poly1305(unhex(key), unhex(message))), tag, message);
});

test("both: RFC 8439, section 2.8.2 and appendix A.5", () => {
  const nonce = unhex("070000004041424344454647");
  const ad = unhex("50515253c0c1c2c3c4c5c6c7");
  const sealed =
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36" +
    "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116" +
    "1ae10b594f09e26a7e902ecbd0600691";
  assert.equal(hex(seal(count(0x80, 32), nonce, ad, SUNSCREEN)), sealed);
  same(open(count(0x80, 32), nonce, ad, unhex(sealed)), SUNSCREEN);
  const draft = open(
    unhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"),
    unhex("000000000102030405060708"),
    unhex("f33388860000000000004e91"),
    unhex(
      "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf" +
        "332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4" +
        "b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a" +
        "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29" +
        "a6ad5cb4022b02709b" +
        "eead9d67890cbb22392336fea1851f38",
    ),
  );
  assert.match(
    new TextDecoder().decode(draft),
    /^Internet-Drafts are draft documents valid for a maximum of six months/,
  );
});

test("both beside node's own, at every size, and no bit may change", () => {
  for (let size = 0; size < 600; size++) {
    const [key, nonce, ad] = [randomBytes(32), randomBytes(12), randomBytes(size % 40)];
    const plaintext = size % 3 ? randomBytes(size) : new Uint8Array(size).fill(255);
    const sealed = seal(key, nonce, ad, plaintext);
    same(sealed, other.seal(key, nonce, ad, plaintext), `${size} bytes`);
    same(open(key, nonce, ad, sealed), plaintext);
    const changed = Uint8Array.from(sealed);
    changed[size % sealed.length] ^= 1 << (size % 8);
    for (const wrong of [changed, sealed.subarray(1), sealed.subarray(0, -1), NOTHING])
      assert.equal(open(key, nonce, ad, wrong), null);
    assert.equal(open(key, nonce, Uint8Array.from([...ad, 0]), sealed), null);
  }
});

test("HKDF: RFC 5869, appendix A.3", () => {
  const [first, second] = hkdf(NOTHING, new Uint8Array(22).fill(0x0b));
  assert.equal(
    hex(first) + hex(second.subarray(0, 10)),
    "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
  );
});

test("Noise: the vectors of cacophony", () => {
  const vector = load("noise/cacophony").vectors.find(
    ({ protocol_name: name }) => name === "Noise_NNpsk0_25519_ChaChaPoly_SHA256",
  );
  const [first, second, ...messages] = vector.messages;
  const made = new Handshake(
    unhex(vector.init_prologue),
    unhex(vector.init_psks[0]),
    unhex(vector.init_ephemeral),
  );
  assert.equal(hex(made.write(unhex(first.payload))), first.ciphertext);
  assert.equal(hex(made.read(unhex(second.ciphertext))), second.payload);
  assert.equal(hex(made.hash), vector.handshake_hash);
  const [out, back] = made.split();
  messages.forEach(({ payload, ciphertext }, at) => {
    if (at % 2) assert.equal(hex(back.decrypt(NOTHING, unhex(ciphertext))), payload);
    else assert.equal(hex(out.encrypt(NOTHING, unhex(payload))), ciphertext);
  });
  assert.equal(messages.length, 4);
});

test("a number of records above 2^32 has all its bytes in the nonce", () => {
  const [made] = new Handshake(NOTHING, new Uint8Array(32), new Uint8Array(32)).split();
  made.count = 2 ** 32 * 5 + 7;
  assert.equal(hex(made.nonce()), "00000000" + "0700000005000000");
});

// ---------------------------------------------------------------------------------------------- links

const NOW = 1000;
const TOKEN = "mellow-otter-4f1e9c0a7d5b2e83";
const E1 = "e1".repeat(16);
const MINE = {
  leaf: true,
  realm: 3,
  dialled: true,
  lookups: true,
  node: "10".repeat(16),
  incarnation: "b0b1b2b3",
  frame_size_max: 65536,
  message_size_max: 1 << 20,
  aliases_max: 127,
  partials_max: 4,
  keepalive_ms: 0,
  bus: "default",
  label: "page",
  via: "ws://here",
};
const THEIRS = { ...MINE, leaf: false, dialled: false, node: "20".repeat(16), label: "site", via: "" };
const lineOf = (body) => framed(unhex(body));

/** Both sides of a link, as far as the handshake. */
function pair({ token = TOKEN, hello = THEIRS, ephemeral = randomBytes(32) } = {}) {
  const client = new Connection(MINE, { token: TOKEN, ephemeral }, NOW);
  client.register(E1, 3, "e1");
  const site = new other.Responder("default", Buffer.from(token), randomBytes(32));
  const first = Buffer.from(client.take());
  const answer = () => site.answer(first.subarray(1));
  return { client, site, first, answer, hello: () => site.record(framed(encodeHello(hello))) };
}

function opened(options) {
  const made = pair(options);
  made.client.receive(made.answer(), NOW);
  made.said = made.site.records(made.client.take());
  made.client.receive(made.hello(), NOW);
  assert.equal(made.client.state, 2, made.client.closeText);
  made.announced = made.site.records(made.client.take());
  return made;
}

const ended = (made) => [made.closeCode, made.closeText];
/** What a client says at its end, or null. */
const codeSaid = (frames) => (frames.length && frames.at(-1)[1] === 3 ? frames.at(-1)[2] : null);

test("a golden handshake, whole and byte by byte", () => {
  const vector = load("handshakes").handshakes.find(({ name }) => name === "pattern 2");
  const fromThem = ({ from }) => from === "responder";
  const stream = [...vector.handshake.filter(fromThem).map(({ frame }) => frame)];
  stream.push(...vector.records.filter(fromThem).map(({ record }) => record));
  for (const step of [1, 7, Infinity]) {
    const hello = {
      ...MINE,
      leaf: false,
      realm: 2,
      lookups: false,
      node: vector.initiator.id,
      label: "b",
      via: "tcp",
    };
    const limits = { frame_size_max: 4096, message_size_max: 65536 };
    const secret = { token: vector.token, ephemeral: unhex(vector.initiator.ephemeral) };
    const made = new Connection({ ...hello, ...limits }, secret, NOW);
    assert.equal(hex(made.take()), vector.handshake[0].frame);
    const raw = unhex(stream.join(""));
    const happened = [];
    for (let at = 0; at < raw.length; at += step)
      happened.push(...made.receive(raw.slice(at, at + step), NOW));
    assert.equal(
      hex(made.take()).slice(0, vector.records[0].record.length),
      vector.records[0].record,
      "HELLO",
    );
    assert.equal(hex(made.channel.handshake.hash), vector.hash);
    assert.deepEqual(
      happened.map(({ type, code }) => [type, code]),
      [
        ["open", undefined],
        ["closed", 0],
      ],
    );
  }
});

test("HELLO has a record of its own, also where everything comes at once", () => {
  const { client, site, answer, hello } = pair();
  client.receive(Buffer.concat([answer(), hello()]), NOW);
  const frames = site.records(client.take());
  assert.equal(frames.length, 2);
  same(frames[0], framed(encodeHello(MINE)));
  assert.match(hex(frames[1]), /^..06/, "DIRECTORY, then SYNC");
});

test("messages that are larger than a record, there and back", () => {
  const { client, site } = opened();
  const payload = randomBytes(300_000);
  client.publish(E1, payload, 0);
  const sealed = client.take();
  const stream = Buffer.concat(site.records(sealed));
  assert.ok(stream.length > payload.length);
  assert.ok(sealed.length - stream.length < 6 * 19, "what the records cost");
  const messages = [];
  for (let at = 0; at < stream.length; at += 60_000)
    messages.push(...client.receive(site.record(stream.subarray(at, at + 60_000)), NOW));
  assert.equal(client.closeCode, -1, client.closeText);
  same(messages[0].payload, payload);
});

test("who does not know the token learns nothing, and is told so in plain text", () => {
  const { client, first, answer } = pair({ token: "another" });
  assert.throws(answer, /authenticate/);
  assert.equal(first.length, 56);
  client.receive(lineOf("0307" + hex(bytesOf("the token is wrong"))), NOW);
  assert.deepEqual(ended(client), [7, "the token is wrong"]);
  assert.equal(hex(client.take()), "020307");
});

test("what is no handshake", () => {
  const ends = {
    "a plain HELLO": [framed(encodeHello(THEIRS)), 7],
    "a HELLO of version 1": [lineOf("01" + hex(bytesOf("BSWY")) + "01"), 2],
    "no Busway": [lineOf("01" + hex(bytesOf("HTTP/1.1"))), 1],
    "an unknown frame": [lineOf("3f01"), 1],
    "a message": [lineOf("8000"), 13],
    "a known frame": [lineOf("0401"), 13],
    "a short message": [lineOf("02" + "11".repeat(47)), 9],
    "a long message": [lineOf("02" + "11".repeat(49)), 9],
    "an empty frame": [unhex("00"), 9],
    "a frame that is too large": [unhex("8104"), 10],
    "a key of low order": [lineOf("02" + zeros(48)), 9],
    "a made-up answer": [lineOf("02" + "09" + zeros(31) + "11".repeat(16)), 23],
  };
  for (const [name, [raw, code]] of Object.entries(ends)) {
    for (const step of [1, raw.length]) {
      const { client } = pair();
      for (let at = 0; at < raw.length; at += step) client.receive(raw.subarray(at, at + step), NOW);
      assert.equal(client.closeCode, code, `${name}: ${client.closeText}`);
      assert.equal(client.take()[2], code, `${name}: CLOSE says so, in plain text`);
    }
  }
  const bare = new Connection(MINE, null, NOW);
  bare.take();
  bare.receive(pair().first, NOW);
  assert.equal(bare.closeCode, 7, "a handshake where this side has no token");
});

test("records: their sizes, before HELLO and after", () => {
  const plain = (size) => framed(encodeHello(THEIRS)).length < size && new Uint8Array(size);
  const sealedBy = (size) => (site) => site.record(plain(size));
  const lengths = { empty: [() => unhex("10" + "00".repeat(16)), 9], "too long": [() => unhex("9104"), 10] };
  for (const [name, [make, code]] of Object.entries(lengths)) {
    const { client, site, answer } = pair();
    client.receive(answer(), NOW);
    client.receive(make(site), NOW);
    assert.equal(client.closeCode, code, name);
    assert.equal(codeSaid(site.records(client.take())), code, "in a record");
  }
  const { client, site } = opened({ hello: { ...THEIRS, frame_size_max: 1000 } });
  client.receive(sealedBy(1001)(site), NOW);
  assert.equal(client.closeCode, 10, "1000 were agreed");
});

test("a plain CLOSE counts only before the first record", () => {
  const early = pair();
  early.client.receive(early.answer(), NOW);
  early.client.receive(lineOf("0312" + hex(bytesOf("full"))), NOW);
  assert.equal(early.client.closeCode, 18);
  assert.match(early.client.closeText, /full .nobody vouches for this/);
  const garbled = pair();
  garbled.client.receive(garbled.answer(), NOW);
  garbled.client.receive(lineOf("03" + "90".repeat(40)), NOW);
  assert.equal(garbled.client.closeCode, 23, "a record of another that begins like a CLOSE");
  const late = opened();
  late.client.receive(lineOf("0312" + hex(bytesOf("full and much longer"))), NOW);
  assert.equal(late.client.closeCode, 23);
});

test("two that dialled", () => {
  const { client, answer, hello } = pair({ hello: { ...THEIRS, dialled: true } });
  client.receive(answer(), NOW);
  client.receive(hello(), NOW);
  assert.equal(client.closeCode, 22);
});

// What the site writes: its part of the handshake, HELLO, and messages 1 to 5.
function conversation(ephemeral) {
  const { answer, hello, site } = pair({ ephemeral });
  const pieces = [answer(), hello()];
  for (let number = 1; number <= 5; number++) {
    const alias = number === 1 ? `0001${E1}` : "01";
    pieces.push(site.record(lineOf(`90${alias}000${number}` + `0${number}`.repeat(20))));
  }
  return pieces;
}

const numbers = (events) => events.filter(({ type }) => type === "message").map(({ payload }) => payload[0]);

test("somebody in the middle who flips a bit, drops, repeats, reorders, splices, cuts: the link ends, and what came is right", () => {
  const ephemeral = randomBytes(32);
  const pieces = conversation(ephemeral);
  const elsewhere = conversation(randomBytes(32));
  const straight = Buffer.concat(pieces);
  const attacks = Array.from(straight, (byte, at) => straight.with(at, byte ^ (1 << (at % 8))));
  const { length } = attacks;
  pieces.forEach((piece, at) => {
    const others = [
      pieces.toSpliced(at, 1),
      pieces.toSpliced(at, 0, piece),
      pieces.toSpliced(at, 2, pieces[at + 1] ?? NOTHING, piece),
      pieces.toSpliced(at, 1, elsewhere[at]),
      pieces.toSpliced(at, 1, piece.subarray(0, -1)),
      pieces.slice(0, at),
    ];
    attacks.push(...others.map((all) => Buffer.concat(all)));
  });
  const ends = new Set();
  const repeatsLast = [];
  [straight, ...attacks].forEach((raw, at) => {
    const { client } = pair({ ephemeral });
    const came = numbers(client.receive(raw, NOW));
    client.receiveEnd("gone", NOW);
    assert.deepEqual(came, [1, 2, 3, 4, 5].slice(0, came.length), `attack ${at}`);
    if (came.length === 5) repeatsLast.push(at && at - 1 - length);
    ends.add(client.closeCode);
  });
  assert.deepEqual(repeatsLast, [0, 37, 38], "none, and what comes behind the last");
  for (const code of [20, 23]) assert.ok(ends.has(code), [...ends].join());
});
