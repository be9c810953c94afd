import manifest from '../../package.json' with { type: 'json' };
import { supportedVersions } from '../cni/version.ts';
import { command, exit, outputOption, print, printJson } from './command.ts';

export const version = command(
  'version',
  'Print the versions of tollgate, of CNI and of the Node inside',
  parser => parser.options(outputOption),
  ({ output }) => {
    const { arch, version: node } = process;
    if (output === 'json') printJson({ version: manifest.version, node, arch, cniVersions: supportedVersions });
    else print(`tollgate ${manifest.version} (Node ${node}, ${arch})\nCNI ${supportedVersions.join(', ')}`);
    return exit.yes;
  },
);
