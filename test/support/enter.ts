/** The program by which tests start others in namespaces: enter.c, compiled when it is wanted first. */
import { execFileSync } from 'node:child_process';
import { existsSync, renameSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const fileOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const program = fileOf('../../dist/tools/enter');
const sources = ['enter.c', '../../cmd/launcher/bare.h'].map(fileOf);

const isNew = (): boolean =>
  existsSync(program) && sources.every(each => statSync(each).mtimeMs < statSync(program).mtimeMs);

/** As build.sh compiles the launcher; of its shared header it needs a part. */
const flags =
  '-std=gnu11 -Os -Wall -Wextra -Wno-unused-function -ffreestanding -fno-stack-protector -fno-pie -no-pie -nostdlib -static';

/** Its path. @throws Error where there is no C compiler */
export function enterProgram(): string {
  if (!isNew()) {
    // Other tests may want it at the same time.
    const made = `${program}.${process.pid}`;
    execFileSync(process.env['CC'] ?? 'cc', [...flags.split(' '), sources[0]!, '-o', made]);
    renameSync(made, program);
  }
  return program;
}
