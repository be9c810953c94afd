/** Container images without a registry: archives as `docker save` makes them. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

interface Entry {
  readonly path: string;
  readonly content?: Uint8Array;
  readonly linkTo?: string;
}

/** POSIX ustar: a header of 512 bytes, then the content, filled up to a multiple of 512. */
function tar(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap(({ path, content = new Uint8Array(), linkTo }) => {
    const header = Buffer.alloc(512);
    const octal = (value: number, at: number, length: number) =>
      header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at);
    const type = linkTo !== undefined ? '2' : path.endsWith('/') ? '5' : '0';
    header.write(path, 0);
    octal(0o755, 100, 8);
    octal(0, 108, 8);
    octal(0, 116, 8);
    octal(content.length, 124, 12);
    octal(0, 136, 12);
    header.write(' '.repeat(8), 148);
    header.write(`${type}${linkTo ?? ''}`, 156);
    header.write('ustar\x0000', 257);
    octal(
      header.reduce((sum, byte) => sum + byte, 0),
      148,
      8,
    );
    return [header, Buffer.from(content), Buffer.alloc((512 - (content.length % 512)) % 512)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

interface Content {
  readonly entries: readonly Entry[];
  /** Arguments where the caller gives none. */
  readonly command: readonly string[];
  /** Arguments before those of the caller. */
  readonly entrypoint?: readonly string[];
  /** More names of the same image. */
  readonly aliases?: readonly string[];
}

/** An image of one layer, as an archive of `docker save`. */
function image(name: string, { entries, command, entrypoint, aliases = [] }: Content): Buffer {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const folders = ['bin/', 'tmp/', 'etc/', 'proc/', 'sys/', 'dev/', 'run/'].map(path => ({ path }));
  const layer = tar([...folders, ...entries]);
  const config = json({
    architecture,
    os: 'linux',
    config: { Cmd: command, ...(entrypoint ? { Entrypoint: entrypoint } : {}), Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
    history: [{ created: '2020-01-01T00:00:00Z' }],
  });
  const files = { config: `${sha256(config)}.json`, layer: `${sha256(layer)}/layer.tar` };
  const manifest = [{ Config: files.config, RepoTags: [name, ...aliases], Layers: [files.layer] }];
  return tar([
    { path: files.config, content: config },
    { path: files.layer, content: layer },
    { path: 'manifest.json', content: json(manifest) },
  ]);
}

const applets = ['sh', 'httpd', 'wget', 'nc', 'ip', 'ping', 'sleep', 'cat', 'echo', 'true'];

/** An image that without a command serves `/www` on port 80, and with one runs a tool of busybox. */
export const busyboxImage = (name: string): Buffer =>
  image(name, {
    command: ['/bin/httpd', '-f', '-p', '80', '-h', '/www'],
    entries: [
      { path: 'www/' },
      { path: 'bin/busybox', content: readFileSync('/bin/busybox') },
      ...applets.map(applet => ({ path: `bin/${applet}`, linkTo: 'busybox' })),
      { path: 'etc/passwd', content: Buffer.from('root:x:0:0:root:/:/bin/sh\n') },
      { path: 'etc/nsswitch.conf', content: Buffer.from('hosts: files\n') },
      { path: 'www/index.html', content: Buffer.from('the answer\n') },
    ],
  });

/** One static program as `/bin/NAME` and nothing else, run with these words where no others are given. */
export const programImage = (name: string, program: string, words: readonly string[]): Buffer =>
  image(name, {
    command: [`/bin/${basename(program)}`, ...words],
    entries: [{ path: `bin/${basename(program)}`, content: readFileSync(program) }],
  });

/** Libraries that the loader maps into a program, and itself, as ldd(1) lists them: `libm.so.6 => /lib/…/libm.so.6 (0x…)`. */
function librariesOf(program: string): readonly string[] {
  // A static program has no libraries, which ldd takes for an error.
  const { stdout: listed } = spawnSync('ldd', [program], { encoding: 'utf8' });
  return [...listed.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path!);
}

/** A program of this machine as `/bin/NAME`, and the libraries that it needs. */
const programEntries = (name: string, program: string): readonly Entry[] => [
  { path: `bin/${name}`, content: readFileSync(program) },
  ...librariesOf(program).map(path => ({ path: path.slice(1), content: readFileSync(path) })),
];

export interface ToolsContent extends Omit<Content, 'entries'> {
  /** Paths of programs of this machine, by their names in `/bin` of the image. */
  readonly programs: Readonly<Record<string, string>>;
  /** More names for busybox(1), which is there, too. */
  readonly applets: readonly string[];
  readonly files: Readonly<Record<string, Uint8Array | string>>;
  /** Targets of symbolic links, by their paths. */
  readonly links: Readonly<Record<string, string>>;
}

/** An image for a shell in a pod: programs of this machine with their libraries, and busybox for all that is small. */
export function toolsImage(name: string, { programs, applets, files, links, ...content }: ToolsContent): Buffer {
  const own = Object.entries(programs).flatMap(([tool, program]) => programEntries(tool, program));
  const entries: readonly Entry[] = [
    ...own,
    { path: 'bin/busybox', content: readFileSync('/bin/busybox') },
    ...applets.map(applet => ({ path: `bin/${applet}`, linkTo: 'busybox' })),
    { path: 'etc/passwd', content: Buffer.from('root:x:0:0:root:/:/bin/sh\n') },
    { path: 'etc/nsswitch.conf', content: Buffer.from('hosts: files dns\n') },
    ...Object.entries(links).map(([path, linkTo]) => ({ path, linkTo })),
    ...Object.entries(files).map(([path, text]) => ({ path, content: Buffer.from(text) })),
  ];
  // Two programs may need the same library.
  const once = new Map(entries.map(entry => [entry.path, entry]));
  return image(name, { ...content, entries: [...once.values()] });
}
