/** The storeys of the house: which rooms each room may import, and why no others. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');

interface Room {
  /** Rooms of ours that it may import, besides itself. */
  readonly may: readonly string[];
  /** Why no other. */
  readonly why: string;
}

/** The rooms that the controller and the command line both stand on. */
const foundations = [
  ...['ip', 'tag', 'cni', 'ipam', 'nft', 'policy', 'gate', 'flows'],
  ...['kernel', 'state', 'kube'],
  ...['nodestore', 'enforce', 'pod', 'rpc', 'node'],
];

const storeys: Readonly<Record<'pure' | 'shell' | 'join', Readonly<Record<string, Room>>>> = {
  pure: {
    ip: { may: [], why: 'addresses are what everybody else talks in, so they rest on nobody' },
    tag: { may: ['ip'], why: 'a tag is written by the plugin and read by the gate, and must mean the same to both' },
    cni: { may: ['ip', 'tag'], why: 'the protocol is spoken without knowing what a verb does to a pod' },
    ipam: {
      may: ['ip', 'cni'],
      why: 'choosing an address needs what is taken as a value, never the store that keeps it',
    },
    netlink: { may: ['ip'], why: 'bytes of a message mean the same whatever subsystem of the kernel they are for' },
    nft: { may: ['ip', 'tag', 'netlink'], why: 'a table is a value that knows nothing of Kubernetes and of sockets' },
    policy: {
      may: ['ip', 'tag', 'cni'],
      why: 'what a policy means is decided without knowing how a kernel enforces it',
    },
    gate: {
      may: ['ip', 'tag', 'cni', 'nft', 'policy'],
      why: 'the table that a node shall have follows from its pods and policies; how it gets there is decided above',
    },
    flows: {
      may: ['ip', 'tag', 'policy'],
      why: 'what is remembered of flows, and who let them pass, is decided without a socket, so that floods can be made up',
    },
  },
  shell: {
    kernel: {
      may: ['ip', 'tag', 'netlink', 'nft'],
      why: 'the native seam sends what it is given; what to send is decided above',
    },
    state: {
      may: ['ip', 'tag', 'cni', 'ipam', 'kernel'],
      why: 'files keep values; what they are for is decided above',
    },
    kube: { may: ['ip', 'tag', 'policy'], why: 'the API is listened to; what follows from an event is decided above' },
  },
  join: {
    nodestore: {
      may: ['ip', 'tag', 'nft', 'policy', 'gate', 'kernel', 'state'],
      why: 'what a node has been is remembered; whether it still is so the kernel says, and that is asked above',
    },
    enforce: {
      may: ['ip', 'tag', 'cni', 'nft', 'policy', 'gate', 'kernel', 'state', 'nodestore'],
      why: 'the gate judges interfaces, whoever made them: pod calls enforce, never the other way',
    },
    pod: {
      may: ['ip', 'tag', 'cni', 'ipam', 'nft', 'policy', 'gate', 'kernel', 'state', 'nodestore', 'enforce'],
      why: 'a call must run in any process, so it knows neither the agent that may run it nor the command line',
    },
    rpc: {
      may: ['ip', 'tag', 'cni', 'gate', 'kernel', 'state', 'kube', 'nodestore', 'enforce', 'pod'],
      why: 'a call travels as bytes: neither end knows what the other process is besides',
    },
    node: {
      may: ['ip', 'tag', 'cni', 'gate', 'kernel', 'state', 'kube', 'nodestore', 'enforce', 'pod', 'rpc'],
      why: 'routes, ranges and the conflist are the node’s: no policy is judged and no call is served there',
    },
    controller: {
      may: foundations,
      why: 'it is started by the command line, and must be testable without it',
    },
    cli: {
      may: [...foundations, 'controller'],
      why: 'a command may show anything, but the door is above it',
    },
  },
};

const door: Room = { may: ['pod', 'cli', 'rpc'], why: 'the door only tells who calls, and who may take the call' };
const rooms: Readonly<Record<string, Room>> = Object.assign({}, ...Object.values(storeys));

/** Packages and modules of Node that have a home: package → rooms that may import it, and why no other. */
const homes: Readonly<Record<string, Room>> = {
  'node:ffi': { may: ['kernel'], why: 'it is experimental, and a wrong call by it is a crash: one seam, well tested' },
  netlink: { may: ['kernel'], why: 'everybody else gives and takes values, so that a test needs no kernel' },
  'ip-cidr': { may: ['ipam'], why: 'it takes milliseconds to load, and only who looks at a configuration needs it' },
  yargs: { may: ['cli'], why: 'it takes 30 ms to load, and a runtime that calls the plugin never needs it' },
  'node:child_process': {
    may: ['pod', 'enforce', 'cli', 'controller'],
    why: 'only a delegated plugin or an admin’s own program is run; the kernel is spoken to, never shelled out to',
  },
};

/** What no module may load that a runtime waits for. */
const slow: Readonly<Record<string, string>> = {
  yargs: '30 ms, for a command line that is not there',
  'ip-cidr': '2 to 5 ms with its first use; ADD does without',
  'node:crypto': '7 ms; FNV is enough for names',
  'node:child_process': '2 ms; import it where a program is really run',
  'node:fs/promises': '1 ms, and a thread pool that is born into whatever network namespace is entered',
  '@kubernetes/client-node': 'only the agent talks to the API',
  'node:net': '2 ms; import it where there is an agent to be called',
};

interface Import {
  readonly target: string;
  /** Loaded with the module itself: neither types nor `import()`. */
  readonly eager: boolean;
}

const statement = /^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\('([^']+)'\)/gm;

/** Imports of a file; those of files of ours as paths from the root. */
function importsOf(file: string): readonly Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(statement)].map(([, type, eagerly, lazily]) => {
    const name = eagerly ?? lazily ?? '';
    const target = name.startsWith('.') ? relative(root, resolve(root, dirname(file), name)) : name;
    return { target, eager: eagerly !== undefined && type === undefined };
  });
}

const files = globSync('{cmd,lib}/**/*.ts', { cwd: root }).sort();
const graph = new Map(files.map(file => [file, importsOf(file)]));

/** `lib/nft/model.ts` → `nft`; the door is `cmd`. */
const roomOf = (file: string): string => (file.startsWith('lib/') ? (file.split('/')[1] ?? '') : 'cmd');

const packageOf = (name: string): string => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? name;

const isOurs = (target: string): boolean => target.endsWith('.ts');

test('every import statement is seen: files of ours that are named exist, and there are many', () => {
  const ours = [...graph.values()].flat().filter(({ target }) => isOurs(target));
  assert.ok(ours.length > 20, `only ${ours.length} imports found`);
  // A half-written branch may name a file that is not there yet; the compiler says so better.
  for (const { target } of ours.filter(({ eager }) => eager)) assert.ok(existsSync(join(root, target)), target);
});

test('an exported type name is declared once, so that one word means one thing', () => {
  const declared = /^export (?:abstract )?(?:interface|type|class|enum) (\w+)/gm;
  const homesOf = new Map<string, string[]>();
  for (const file of files)
    for (const [, name = ''] of readFileSync(join(root, file), 'utf8').matchAll(declared))
      homesOf.set(name, [...(homesOf.get(name) ?? []), file]);
  assert.ok(homesOf.size > 100, `only ${homesOf.size} exported types found`);
  assert.deepEqual(
    [...homesOf].filter(([, where]) => where.length > 1),
    [],
  );
});

test('every room has a rule', () => {
  const found = readdirSync(join(root, 'lib'), { withFileTypes: true }).filter(entry => entry.isDirectory());
  for (const { name } of found) assert.ok(rooms[name], `lib/${name} has no rule in this test`);
});

test('a room imports only the rooms that its rule names', () => {
  const wrong = files.flatMap(file => {
    const room = roomOf(file);
    const { may, why } = room === 'cmd' ? door : (rooms[room] ?? { may: [], why: 'no rule' });
    return (graph.get(file) ?? [])
      .filter(({ target }) => isOurs(target) && roomOf(target) !== room && !may.includes(roomOf(target)))
      .map(
        ({ target }) => `${file} imports ${target}, but ${room} may import only ${may.join(', ') || 'itself'}: ${why}`,
      );
  });
  assert.deepEqual(wrong, []);
});

test('a pure room imports neither Node nor a room that is not pure', () => {
  for (const [name, { may }] of Object.entries(storeys.pure)) {
    for (const other of may) assert.ok(storeys.pure[other], `the rule of ${name} lets it import ${other}`);
  }
  const wrong = files.filter(
    file => storeys.pure[roomOf(file)] && graph.get(file)?.some(({ target }) => target.startsWith('node:')),
  );
  assert.deepEqual(wrong, []);
});

test('the compiler checks the same rooms for purity', () => {
  const { include } = JSON.parse(readFileSync(join(root, 'lib/pure.tsconfig.json'), 'utf8'));
  assert.deepEqual([...include].sort(), Object.keys(storeys.pure).sort());
});

test('a package that has a home is imported there only', () => {
  const wrong = files.flatMap(file =>
    (graph.get(file) ?? []).flatMap(({ target }) => {
      const home = homes[packageOf(target)] ?? homes[target];
      if (!home || home.may.includes(roomOf(file))) return [];
      return [`${file} imports ${target}, which belongs to ${home.may.join(', ')}: ${home.why}`];
    }),
  );
  assert.deepEqual(wrong, []);
});

test('no module rests on itself, by whatever way round', () => {
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) cycles.push([...way.slice(way.indexOf(file)), file].join(' → '));
    if (way.includes(file) || done.has(file)) return;
    for (const { target, eager } of graph.get(file) ?? []) if (eager && isOurs(target)) visit(target, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  assert.deepEqual(cycles, []);
});

/** Everything that the plugin's start loads, with the way that leads there. */
function loadedByPlugin(): ReadonlyMap<string, string> {
  const way = new Map([['lib/pod/plugin.ts', 'lib/pod/plugin.ts']]);
  for (const [file, path] of way)
    for (const { target, eager } of graph.get(file) ?? [])
      if (eager && !way.has(target)) way.set(target, `${path} → ${target}`);
  return way;
}

test('what a runtime waits for is listed, so that nobody adds to it unseen', () => {
  const listed = readFileSync(join(root, 'test/unit/cni-path.txt'), 'utf8').trim().split('\n');
  const way = loadedByPlugin();
  const unlisted = [...way].filter(([target]) => !listed.includes(target)).map(([, path]) => path);
  assert.deepEqual(
    unlisted,
    [],
    'loaded by every call: import it where it is needed, or add it to test/unit/cni-path.txt',
  );
  assert.deepEqual(
    listed.filter(target => !way.has(target)),
    [],
    'no longer loaded: take it out of test/unit/cni-path.txt',
  );
});

test('what a runtime waits for loads nothing slow', () => {
  const way = loadedByPlugin();
  for (const [target, path] of way) {
    const cost = slow[packageOf(target)] ?? slow[target];
    assert.ok(cost === undefined, `${path}: ${cost}`);
  }
  assert.ok(![...way.keys()].some(file => roomOf(file) === 'cli'), 'the command line is loaded with the plugin');
  assert.ok(way.size > 1, 'the plugin imports nothing of ours');
});
