/**
 * Stands in for the package `string-width` inside the executable, for yargs and the packages that lay out its help: the package
 * makes expressions for emoji as soon as it is loaded, which takes longer than all else that a command loads.
 */
const plain = /^[\n -~‘’“”…–—]*$/;

/**
 * The package's own answer for any text, without loading it for those that help is made of.
 * @param {string} text
 * @param {object} [options] of the package
 * @returns {number} columns
 */
module.exports = (text, options) =>
  plain.test(text) ? text.replaceAll('\n', '').length : require('string-width').default(text, options);
