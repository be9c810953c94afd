/**
 * Stands in for the package `node-gyp-build` inside the executable (esbuild --alias). CommonJS, because the package
 * `netlink` calls what require() gives, and esbuild gives an object where it requires a module of the other kind.
 */
module.exports = require('./addon.ts').loadAddon;
