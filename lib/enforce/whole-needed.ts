/** The change cannot be made from some of the node's pods: the caller has to read all of them. */
export class WholeNeeded extends Error {
  override readonly name = 'WholeNeeded';
}
