/**
 * Stands in for the package `node-gyp-build` inside the executable (esbuild --alias). CommonJS, because the package
 * `netlink` calls what require() gives, and esbuild gives an object where it requires a module of the other kind.
 *
 * The package asks for its addon as soon as it is imported; it gets it when it opens its first socket. VERSION, an error
 * in the environment or `--help` opens none.
 */
module.exports = folder => {
  let addon;
  return {
    get NativeNetlink() {
      addon ??= require('./addon.ts').loadAddon(folder);
      return addon.NativeNetlink;
    },
  };
};
