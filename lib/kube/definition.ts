/**
 * Hears that an API server gets or changes the CustomResourceDefinition of a resource that it has not: to ask for the resource
 * again and again would be many requests of many agents.
 */
import { pause } from './clock.ts';
import { follow } from './follow.ts';
import type { Listing } from './list.ts';
import type { Resource } from './object.ts';

/** Tells the versions of one definition. */
function definitionOf({ name, path }: Pick<Resource<unknown>, 'name' | 'path'>): Resource<object> {
  const group = path.split('/')[2]!;
  return {
    name: 'customresourcedefinitions',
    path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
    fieldSelector: `metadata.name=${name}.${group}`,
    read: () => ({}),
    isOver: () => false,
    id: () => ({ namespace: '', name: `${name}.${group}` }),
  };
}

export class Definition {
  /** Version of the definition that was told last. */
  #seen: string | undefined;

  /**
   * Resolves once the definition is another than it was, or after so many milliseconds: where the server does not tell of
   * definitions, it is the latter.
   * @returns whether it is another
   */
  async changes<T>(listing: Listing<T>, milliseconds: number): Promise<boolean> {
    const over = new AbortController();
    const signal = AbortSignal.any([listing.signal, over.signal]);
    let isOther = false;
    const heard = this.#isTold({ ...listing, resource: definitionOf(listing.resource), signal }).then(told => {
      isOther = told;
      if (told) over.abort();
    });
    await pause(listing.client.clock, milliseconds, signal);
    over.abort();
    await heard;
    return isOther;
  }

  async #isTold(listing: Listing<object>): Promise<boolean> {
    try {
      for await (const event of follow(listing, { since: '', seconds: 300 })) {
        if (event.type !== 'set' || event.resourceVersion === this.#seen) continue;
        this.#seen = event.resourceVersion;
        return true;
      }
    } catch {
      // Refused or lost: the resource itself is asked for after a while.
    }
    return false;
  }
}
