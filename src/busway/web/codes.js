/* Numbers of the wire format, limits and names, of protocol/wire/codes.py.

   Written by python -m tests.rigs.web_codes: change them there. */

export const VERSION = 2;
export const NNPSK0 = 2;
export const PROCESS = 0;
export const USERSPACE = 1;
export const LOCALNET = 2;
export const GLOBAL = 3;
export const UNICAST = 1;
export const ANYCAST = 2;
export const BROADCAST = 3;
export const STREAM = 0;
export const HELLO = 1;
export const HANDSHAKE = 2;
export const CLOSE = 3;
export const PING = 4;
export const PONG = 5;
export const DIRECTORY = 6;
export const MORE = 7;
export const ROUTES = 8;
export const SYNC = 9;
export const SLEEP = 65;
export const SEND = 0;
export const PUBLISH = 1;
export const CONFIRM = 2;
export const REQUEST = 3;
export const REPLY = 4;
export const PART = 5;
export const ERROR = 6;
export const SIGNAL = 7;
export const CLEARED = 2147483648;
export const NORMAL = 1;
export const LANE_MAX = 7;
export const CANCEL = 1;
export const CREDIT = 2;
export const PROBE = 3;
export const PART_CREDIT = 4;
export const UNDELIVERABLE = 5;
export const END = 6;
export const WHO = 7;
export const HAVE = 8;
export const PRUNE = 9;
export const GRAFT = 10;
export const TRACE = 11;
export const TRACED = 12;
export const SELECT = 13;
export const SELECTED = 14;
export const MORE_FOLLOW = 1;
export const REFUSED = 2;
export const RAW = 0;
export const CBOR = 1;
export const TYPED = 3;
export const NOT_BUSWAY = 1;
export const BAD_VERSION = 2;
export const BUS_NAME = 3;
export const SELF = 4;
export const TOKEN = 7;
export const LIMITS = 8;
export const MALFORMED = 9;
export const TOO_LARGE = 10;
export const UNKNOWN_ALIAS = 11;
export const UNKNOWN_FRAME = 12;
export const BAD_STATE = 13;
export const TOO_MANY = 14;
export const SILENT = 15;
export const HELLO_TIMEOUT = 16;
export const LOST = 20;
export const SAME_ROLE = 22;
export const FORGED = 23;
export const PATTERN = 27;
export const NOT_ADMITTED = 29;
export const LINK_ERROR_NAMES = {
  0: "GOODBYE",
  1: "NOT_BUSWAY",
  2: "VERSION",
  3: "BUS_NAME",
  4: "SELF",
  5: "DUPLICATE_LINK",
  7: "TOKEN",
  8: "LIMITS",
  9: "MALFORMED",
  10: "TOO_LARGE",
  11: "UNKNOWN_ALIAS",
  12: "UNKNOWN_FRAME",
  13: "STATE",
  14: "TOO_MANY",
  15: "SILENT",
  16: "HELLO_TIMEOUT",
  17: "NOT_READING",
  18: "MESH_FULL",
  19: "REPLACED",
  20: "LOST",
  21: "RESTARTED",
  22: "SAME_ROLE",
  23: "FORGED",
  24: "IDENTITY",
  25: "NOT_A_ROUTER",
  26: "UNTRUSTED",
  27: "PATTERN",
  28: "NAME_TAKEN",
  29: "NOT_ADMITTED",
};
export const NO_ENDPOINT = 1;
export const QUEUE_FULL = 2;
export const EXPIRED = 3;
export const NO_ROUTE = 4;
export const MESSAGE_TOO_LARGE = 6;
export const WRONG_KIND = 7;
export const UNREADABLE = 9;
export const NOT_A_STREAM = 10;
export const PART_LOST = 11;
export const LOST_AFTER_SENDING = 13;
export const OVERTAKEN = 14;
export const NO_PRIORITIES = 16;
export const NO_FILES = 17;
export const HANDLER_FAILED = 64;
export const REASON_NAMES = {
  1: "NO_ENDPOINT",
  2: "QUEUE_FULL",
  3: "EXPIRED",
  4: "NO_ROUTE",
  5: "RECEIVER_CLOSED",
  6: "TOO_LARGE",
  7: "WRONG_KIND",
  8: "DROPPED",
  9: "UNREADABLE",
  10: "NOT_A_STREAM",
  11: "PART_LOST",
  12: "BUS_CLOSED",
  13: "LOST_AFTER_SENDING",
  14: "OVERTAKEN",
  15: "NO_PERMISSION",
  16: "NO_PRIORITIES",
  17: "NO_FILES",
  18: "FILES_FULL",
  64: "HANDLER_FAILED",
};
export const SECURING = 0;
export const GREETING = 1;
export const OPEN = 2;
export const CLOSING = 3;
export const CLOSED = 4;
export const LABELS_MAX = 8;
export const LABEL_SIZE_MAX = 32;
export const SELECTED_MAX = 256;
export const HOLDERS_MAX = 16;
export const OUTSTANDING_MAX = 65536;
export const OPENING_CREDIT = 4;
export const STREAM_WINDOW = 64;
export const STREAM_PATIENCE_MS = 120000;
export const STREAM_STALL_MS = 1800000;
export const HELLO_TIMEOUT_MS = 5000;
export const CLOSING_MS = 2000;
export const SLEEP_MAX_MS = 86400000;
export const SYNC_MS = 2000;
export const PROBE_MS = 1000;
export const PROBE_MAX_MS = 30000;
export const FLOW_FALLBACK_MS = 60000;
export const FLOW_FORGET_IN_MS = 180000;
export const FLOW_FORGET_OUT_MS = 240000;
export const SWEEP_MS = 30000;
export const LOST_MS = 2000;
