// What protection costs a page, in time of the processor: `node benchmarks/page_records.mjs`.
//
// A handshake (the client's part of it), and records of several sizes, each way. The other side is node's own cryptography.

import { randomBytes } from "node:crypto";

import { Channel } from "../src/busway/web/channel.js";
import { Responder } from "../tests/web/responder.mjs";

const BEFORE_MESSAGE = Buffer.from("024253575902", "hex"); // of the first frame: head, magic, version
const ROUNDS = 5; // of which the best counts: whatever else the machine does only adds

function msOf(work) {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

function handshake() {
  let first;
  let channel;
  let ms = msOf(() => {
    channel = new Channel("default", { token: "token", ephemeral: randomBytes(32) });
    first = channel.begin();
  });
  const site = new Responder("default", Buffer.from("token"), randomBytes(32));
  const answer = site.answer(Buffer.concat([BEFORE_MESSAGE, first]));
  ms += msOf(() => channel.agree(answer.subarray(2)));
  return { channel, site, ms };
}

const best = (measure) => Math.min(...Array.from({ length: ROUNDS }, measure));

const cold = handshake().ms;
const warm = best(() => {
  let all = 0;
  for (let count = 0; count < 50; count++) all += handshake().ms;
  return all / 50;
});
console.log(`handshake: ${warm.toFixed(1)} ms, the first one ${cold.toFixed(0)} ms`);

const { channel, site } = handshake();
channel.seal([new Uint8Array(1)], 1); // the first record is one by itself
for (const size of [64, 1024, 16384, 65519]) {
  const count = Math.ceil(4e6 / size);
  const data = randomBytes(size);
  const seal = best(() => msOf(() => Array.from({ length: count }, () => channel.seal([data], size).length)));
  const open = best(() => {
    const sealed = Array.from({ length: count }, () =>
      site.record(data).subarray(size + 16 > 16383 ? 3 : size + 16 > 127 ? 2 : 1),
    );
    return msOf(() => sealed.forEach((record) => channel.open(record)));
  });
  const told = (ms) =>
    `${((size * count) / ms / 1000).toFixed(0)} MB/s, ${((ms * 1000) / count).toFixed(0)} us each`;
  console.log(`records of ${size} B: sealed at ${told(seal)}; opened at ${told(open)}`);
}
