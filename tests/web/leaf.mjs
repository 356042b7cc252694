// A leaf of the JavaScript client, told what to do line by line; many sessions one after another.

import { createInterface } from "node:readline";

import { hex, unhex } from "../../src/busway/web/codec.js";
import { Connection } from "../../src/busway/web/leaf.js";

let leaf, requests, now;

const told = {
  open: (event) => ["open", event.node],
  closed: (event) => ["closed", event.code],
  taken: (event) => ["taken", event.endpoint],
  back: (event) => ["back", event.endpoint],
  undeliverable: (event) => ["undeliverable", event.endpoint, event.code],
  outcome: ({ id, status, code, text, payload }) => [
    "outcome",
    id,
    status,
    code,
    status === "failed" ? text : "",
    payload ? hex(payload) : "",
  ],
  cancelled: ({ request }) => ["cancelled", request.at],
  part: ({ id, payload }) => ["part", id, hex(payload)],
  message({ endpoint, source, payload, missed, request }) {
    let at = -1;
    if (request?.confirm) leaf.respond(request, new Uint8Array(0), 0);
    else if (request) {
      at = request.at = requests.length;
      requests.push(request);
    }
    return ["message", endpoint, source, hex(payload), missed, at];
  },
};

const DO = {
  begin({ hello, at }) {
    now = at;
    leaf = new Connection(hello, null, now);
    requests = [];
  },
  feed: ({ data }) => leaf.receive(unhex(data), now),
  eof: () => leaf.receiveEnd("gone", now),
  close: () => leaf.close(now),
  register: ({ endpoint, kind }) => leaf.register(endpoint, kind, ""),
  withdraw: ({ endpoint }) => leaf.withdraw(endpoint),
  publish: ({ endpoint, payload }) => void leaf.publish(endpoint, unhex(payload), 0),
  cancel: ({ id }) => leaf.cancel(id, now),
  respond: ({ at, payload }) => leaf.respond(requests[at], unhex(payload), 0),
  reject: ({ at, code }) => leaf.reject(requests[at], code, "no"),
  pass({ ms }) {
    const events = [];
    for (const until = now + ms; ; ) {
      const due = leaf.nextDeadline();
      if (due > until) break;
      now = Math.max(now, due);
      events.push(...leaf.handleTimer(now), ...leaf.resume(now));
      if (leaf.nextDeadline() <= now) now++;
    }
    return events;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const step = JSON.parse(line);
  let id = 0;
  let events = [];
  if (step.op === "submit") id = leaf.submit({ ...step, payload: unhex(step.payload), format: 0 }, now);
  else events = DO[step.op](step) ?? [];
  events.push(...leaf.takeEvents());
  const happened = events.filter(({ type }) => type !== "synced").map((event) => told[event.type](event));
  const said = [];
  for (let data; (data = leaf.take()); ) said.push(hex(data));
  console.log(JSON.stringify({ id, happened, said: said.join("") }));
}
