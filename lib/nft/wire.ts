/** Numbers of linux/netfilter/nf_tables.h, nfnetlink.h and libnftnl's udata.h, under their own names. */

export const NFNL_SUBSYS_NFTABLES = 10;
export const NFNL_MSG_BATCH_BEGIN = 16;
export const NFNL_MSG_BATCH_END = 17;
export const NFNL_BATCH_GENID = 1;

/** enum nf_tables_msg_types */
export const NFT_MSG = {
  NEWTABLE: 0,
  GETTABLE: 1,
  DELTABLE: 2,
  NEWCHAIN: 3,
  GETCHAIN: 4,
  DELCHAIN: 5,
  NEWRULE: 6,
  GETRULE: 7,
  DELRULE: 8,
  NEWSET: 9,
  GETSET: 10,
  DELSET: 11,
  NEWSETELEM: 12,
  GETSETELEM: 13,
  DELSETELEM: 14,
  NEWGEN: 15,
  GETGEN: 16,
  NEWOBJ: 18,
  GETOBJ: 19,
  DELOBJ: 20,
  /** The DESTROY messages are of Linux 6.3. */
  DESTROYTABLE: 26,
  DESTROYCHAIN: 27,
  DESTROYRULE: 28,
  DESTROYSET: 29,
  DESTROYSETELEM: 30,
  DESTROYOBJ: 31,
} as const;

/** The netlink message type: subsystem in the high byte. */
export const messageType = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message;

/** NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 */
export const TABLE_FAMILIES = { inet: 1, ip: 2, ip6: 10 } as const;

export const NFTA_LIST_ELEM = 1;
export const NFTA_TABLE = { NAME: 1, FLAGS: 2, HANDLE: 4, USERDATA: 6, OWNER: 7 } as const;
/** OWNER: Linux 5.12; PERSIST: 6.9 */
export const NFT_TABLE_F = { DORMANT: 1, OWNER: 2, PERSIST: 4 } as const;
export const NFTA_CHAIN = {
  TABLE: 1,
  HANDLE: 2,
  NAME: 3,
  HOOK: 4,
  POLICY: 5,
  TYPE: 7,
  USERDATA: 12,
} as const;
export const NFTA_HOOK = { HOOKNUM: 1, PRIORITY: 2 } as const;
export const NFTA_RULE = { TABLE: 1, CHAIN: 2, HANDLE: 3, EXPRESSIONS: 4, POSITION: 6, USERDATA: 7 } as const;
export const NFTA_EXPR = { NAME: 1, DATA: 2 } as const;
export const NFTA_SET = {
  TABLE: 1,
  NAME: 2,
  FLAGS: 3,
  KEY_TYPE: 4,
  KEY_LEN: 5,
  DATA_TYPE: 6,
  DATA_LEN: 7,
  DESC: 9,
  ID: 10,
  USERDATA: 13,
  OBJ_TYPE: 15,
  /** Linux 6.16. */
  COUNT: 20,
} as const;
export const NFTA_SET_DESC = { SIZE: 1, CONCAT: 2 } as const;
export const NFTA_SET_FIELD_LEN = 1;
export const NFT_SET = {
  ANONYMOUS: 1,
  CONSTANT: 2,
  INTERVAL: 4,
  MAP: 8,
  TIMEOUT: 16,
  EVAL: 32,
  OBJECT: 64,
  CONCAT: 128,
};
/** NFT_DATA_VERDICT as a set's data type. */
export const VERDICT_TYPE = 0xffffff00;
export const NFTA_SET_ELEM_LIST = { TABLE: 1, SET: 2, ELEMENTS: 3, SET_ID: 4 } as const;
export const NFTA_SET_ELEM = { KEY: 1, DATA: 2, FLAGS: 3, USERDATA: 6, OBJREF: 9, KEY_END: 10 } as const;
export const NFT_SET_ELEM_INTERVAL_END = 1;
export const NFTA_DATA = { VALUE: 1, VERDICT: 2 } as const;
export const NFTA_VERDICT = { CODE: 1, CHAIN: 2 } as const;
export const NFTA_OBJ = { TABLE: 1, NAME: 2, TYPE: 3, DATA: 4, USERDATA: 8 } as const;

/** libnftnl's udata.h: what nft keeps in userdata, where the kernel never looks. */
export const UDATA = {
  COMMENT: 0,
  SET_KEYBYTEORDER: 0,
  SET_DATABYTEORDER: 1,
  SET_COMMENT: 7,
  SET_ELEM_COMMENT: 0,
  SET_ELEM_FLAGS: 1,
} as const;
/** nft's enum byteorder */
export const BYTEORDER = { host: 1, network: 2 } as const;

/** enum nf_inet_hooks */
export const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4, ingress: 5 } as const;

/** Attributes of the expressions, by the kernel's name of the expression. */
export const NFTA_META = { DREG: 1, KEY: 2, SREG: 3 } as const;
export const NFTA_CT = { DREG: 1, KEY: 2, DIRECTION: 3, SREG: 4 } as const;
export const NFTA_PAYLOAD = { DREG: 1, BASE: 2, OFFSET: 3, LEN: 4 } as const;
export const NFTA_FIB = { DREG: 1, RESULT: 2, FLAGS: 3 } as const;
export const NFTA_BITWISE = { SREG: 1, DREG: 2, LEN: 3, MASK: 4, XOR: 5, OP: 6 } as const;
export const NFTA_CMP = { SREG: 1, OP: 2, DATA: 3 } as const;
export const NFTA_RANGE = { SREG: 1, OP: 2, FROM: 3, TO: 4 } as const;
export const NFTA_LOOKUP = { SET: 1, SREG: 2, DREG: 3, SET_ID: 4, FLAGS: 5 } as const;
export const NFT_LOOKUP_F_INV = 1;
export const NFTA_IMMEDIATE = { DREG: 1, DATA: 2 } as const;
export const NFTA_COUNTER = { BYTES: 1, PACKETS: 2 } as const;
export const NFTA_OBJREF = { IMM_TYPE: 1, IMM_NAME: 2, SET_SREG: 3, SET_NAME: 4 } as const;
export const NFTA_LOG = { GROUP: 1, PREFIX: 2, SNAPLEN: 3, QTHRESHOLD: 4, LEVEL: 5, FLAGS: 6 } as const;
export const NFTA_LIMIT = { RATE: 1, UNIT: 2, BURST: 3, TYPE: 4, FLAGS: 5 } as const;
export const NFTA_REJECT = { TYPE: 1, ICMP_CODE: 2 } as const;
export const NFTA_MASQ = { FLAGS: 1, REG_PROTO_MIN: 2 } as const;
export const NFTA_NAT = {
  TYPE: 1,
  FAMILY: 2,
  REG_ADDR_MIN: 3,
  REG_ADDR_MAX: 4,
  REG_PROTO_MIN: 5,
  REG_PROTO_MAX: 6,
  FLAGS: 7,
} as const;
export const NFTA_GEN_ID = 1;

/** By which a reader names an attribute that is malformed. */
export const names = {
  table: { prefix: 'NFTA_TABLE', types: NFTA_TABLE },
  chain: { prefix: 'NFTA_CHAIN', types: NFTA_CHAIN },
  hook: { prefix: 'NFTA_HOOK', types: NFTA_HOOK },
  rule: { prefix: 'NFTA_RULE', types: NFTA_RULE },
  expression: { prefix: 'NFTA_EXPR', types: NFTA_EXPR },
  set: { prefix: 'NFTA_SET', types: NFTA_SET },
  elementList: { prefix: 'NFTA_SET_ELEM_LIST', types: NFTA_SET_ELEM_LIST },
  element: { prefix: 'NFTA_SET_ELEM', types: NFTA_SET_ELEM },
  data: { prefix: 'NFTA_DATA', types: NFTA_DATA },
  verdict: { prefix: 'NFTA_VERDICT', types: NFTA_VERDICT },
  object: { prefix: 'NFTA_OBJ', types: NFTA_OBJ },
  counter: { prefix: 'NFTA_COUNTER', types: NFTA_COUNTER },
  generation: { prefix: 'NFTA_GEN', types: { ID: NFTA_GEN_ID } },
} as const;
