/* Prints what the modules of the client export: functions, classes with their members, and options of calls, as JSON. */

const folder = process.argv[2];
const modules = {};
const isOurs = (name) => !name.startsWith("_") && name !== "constructor";

const membersOf = (cls) => [
  ...Object.getOwnPropertyNames(cls.prototype).filter(isOurs),
  ...Object.getOwnPropertyNames(cls).filter((name) => !["length", "name", "prototype"].includes(name)),
];

for (const file of ["bus.js", "busway.js", "node/bus.js"]) {
  const found = (modules[file] = {});
  for (const [name, value] of Object.entries(await import(`${folder}/${file}`))) {
    const isClass = /^class\b/.test(Function.prototype.toString.call(value));
    const base = isClass ? Object.getPrototypeOf(value).name : "";
    found[name] = { kind: isClass ? "class" : "function", base, members: isClass ? membersOf(value) : [] };
  }
}

const { Bus, BusError, Tagged, Undeliverable, where } = await import(`${folder}/node/bus.js`);
const bus = new Bus("ipc:///nowhere/x.sock");
const fieldsOf = (value) => Object.keys(value).filter(isOurs);
const fields = {
  AbstractBus: fieldsOf(bus),
  BusError: fieldsOf(new BusError("")),
  Undeliverable: fieldsOf(new Undeliverable("", 0)),
  Tagged: fieldsOf(new Tagged(0, null)),
};
const selector = where("a");
const selectors = [...fieldsOf(selector), ...membersOf(selector.constructor).filter((name) => isOurs(name) && name in selector)];

const options = {};
const wrong = { nope: 1 };
const calls = {
  constructor: () => new Bus(wrong),
  subscribe: () => bus.subscribe("x", () => {}, wrong),
  serve: () => bus.serve("x", () => {}, wrong),
  request: () => bus.request("x", null, wrong),
  requestAll: () => bus.requestAll(selector, null, wrong).next(),
  requestStream: () => bus.requestStream("x", null, wrong).next(),
  last: () => bus.last("x", wrong),
  send: () => bus.send("x", null, wrong),
  publish: () => bus.publish("x", null, wrong),
  presence: () => bus.presence("x", wrong).next(),
};
for (const [name, call] of Object.entries(calls)) {
  try {
    await call();
  } catch (error) {
    options[name] = error.message.split("there are ")[1].split(", ");
  }
}
bus.close();
console.log(JSON.stringify({ modules, fields, selectors, options }));
