/** What keeps the house in order for a stranger: how long a file may be, what files of one name are, where state lives. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');
const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');
const sources = globSync('{lib,cmd}/**/*.{ts,cjs,css,html,c,h}', { cwd: root }).sort();
const built = globSync('.build/*.{ts,mjs,sh}', { cwd: root });
const modules = sources.filter(file => file.endsWith('.ts'));

type Reasons = Readonly<Record<string, string>>;

/** Compares what is found with what is listed, so that a reason whose subject is gone goes as well. */
function assertListed(found: readonly string[], reasons: Reasons, advice: string): void {
  assert.deepEqual(
    found.filter(each => reasons[each] === undefined),
    [],
    advice,
  );
  assert.deepEqual(
    Object.keys(reasons).filter(each => !found.includes(each)),
    [],
    'listed, and no longer there',
  );
}

const MOST_LINES = 300;
const long: Reasons = {};

test(`no file has more than ${MOST_LINES} lines`, () => {
  const found = [...sources, ...built].filter(file => textOf(file).trimEnd().split('\n').length > MOST_LINES);
  assertListed(found, long, 'split it by what it does');
});

const WIDEST = 130;

test(`no line of a comment is longer than ${WIDEST} characters`, () => {
  const found = [...sources, ...built, ...globSync('test/**/*.ts', { cwd: root })].flatMap(file => {
    const lines = textOf(file).split('\n');
    return lines.flatMap((line, i) =>
      /^\s*(\/?\*|\/\/)/.test(line) && line.length > WIDEST ? [`${file}:${i + 1}`] : [],
    );
  });
  assert.deepEqual(found, []);
});

const twins: Reasons = {
  'address.ts': 'an IP address, and one on a link',
  'attachment.ts': 'its record under a lock, and how a call begins with it',
  'claims.ts': 'the interface, and claims on disk',
  'client.ts': 'the side that asks: an agent, and an API server',
  'compile.ts': 'one form of rules into the next',
  'config.ts': 'a network’s configuration, and the sense of its ranges',
  'conflist.ts': 'the conflist as the agent writes it, and as `tollgate install` does',
  'delegate.ts': 'what is said to a delegated IPAM plugin, and running it',
  'detail.ts': 'of one thing on a page',
  'diff.ts': 'what lies between two tables, or two sets of policies, and the command',
  'error.ts': 'the errors of the room',
  'explain.ts': 'an explanation, and the command that prints it',
  'field.ts': 'a value read at its place in a document',
  'gc.ts': 'the verb, and the command',
  'ipam.ts': 'the configuration’s part, and what a call does with it',
  'link-reaper.ts': 'the interface, and that of a warm process',
  'lint.ts': 'the rules, and the command',
  'list.ts': 'objects listed: by the API, and by the command',
  'main.ts': 'where a command line begins',
  'matrix.ts': 'all pairs, and the command that prints them',
  'model.ts': 'the values that the room is about',
  'node-ranges.ts': 'the value, and its file',
  'page.ts': 'a page: its script, and what a command puts into it',
  'reader.ts': 'messages out of bytes: netlink’s, and those of nf_tables in them',
  'selector.ts': 'what is looked at: labels of a pod, or fields of a packet',
  'staged.ts': 'what staged policies are, and how a manifest says so',
  'status.ts': 'the verb, and the command',
  'suggest.ts': 'policies out of flows, and the command',
  'verify.ts': 'the comparison, and the command',
  'version.ts': 'versions of CNI, and the command that prints ours',
  'writer.ts': 'messages into bytes: netlink’s, and those of nf_tables in them',
};

test('files of one name mean the same thing', () => {
  const byName = Map.groupBy(modules, file => basename(file));
  const found = [...byName].filter(([, files]) => files.length > 1).map(([name]) => name);
  assertListed(found, twins, 'rename one of them, or say in what they mean the same');
});

const memo = 'a pure function of a value that does not change, worked out once; it goes with the value';
const stateful: Reasons = {
  'lib/cli/flows/flows-page/page.ts typing': 'a page in a browser is one object, and ends with it',
  'lib/enforce/gate-digest.ts digests': memo,
  'lib/gate/chains.ts made': memo,
  'lib/gate/node-world.ts compiled': memo,
  'lib/kernel/datagram-socket.ts datagram': 'memory of the thread, of which nothing is kept from one call to the next',
  'lib/kernel/flock.ts lines':
    'a lock excludes processes, not what runs in one: those stand in line, whoever opened the file',
  'lib/kernel/mount-namespace.ts ours': 'a constant of the process, which never leaves its mount namespace',
  'lib/nft/compile.ts compiled': memo,
  'lib/nft/reference.ts known': memo,
  'lib/nodestore/folder-listing.ts listed': 'the folder that was listed last: a process has one',
  'lib/nodestore/policy-folder.ts known': memo,
  'lib/nodestore/policy-folder.ts knownPods': memo,
  'lib/nodestore/policy-folder.ts knownOf': memo,
  'lib/nodestore/rules-file.ts texts': memo,
  'lib/policy/compile/decisions.ts known': memo,
  'lib/policy/compile/members.ts indexes': memo,
  'lib/policy/evaluate/cluster.ts clusters': memo,
  'lib/policy/model/port-names.ts byName': memo,
  'lib/state/store.ts bootId': 'a constant of the machine, which no process outlives',
};

/** A variable of a module, or a collection that is empty at first, and so is filled later; not a constant that stays empty. */
const declaration =
  /^(?:export )?(?:let (\w+)|const (\w+)\b(?!: Readonly)[^=\n]*= new (?:Map|Set|WeakMap|WeakSet)(?:<.*>)?\(\);)/gm;

test('state belongs to an object: a module has none of its own', () => {
  const found = modules.flatMap(file =>
    [...textOf(file).matchAll(declaration)].map(([, variable, collection]) => `${file} ${variable ?? collection}`),
  );
  assertListed(found, stateful, 'make it a field of what owns it');
});

test('folders are made by makeFolders: what Node makes recursively goes round for ever below /proc', () => {
  const found = modules.filter(file => /mkdirSync\(.*recursive/.test(textOf(file)));
  assert.deepEqual(found, []);
});
