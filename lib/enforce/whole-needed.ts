/** What is known of some pods does not tell what is to be done: all pods of the node are needed. */
export class WholeNeeded extends Error {
  override readonly name = 'WholeNeeded';
}
