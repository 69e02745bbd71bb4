/**
 * What the network driver tells whoever talks to Docker's own API, and waits for. Main thread.
 *
 * Docker's callbacks carry identifiers only; names are had from its API, which must not be asked before the callback has
 * been answered. So each hook only notes what there is to do: it returns at once, throws nothing and calls nothing of
 * Docker's before the callback's answer is out.
 */
export interface DockerHooks {
  /**
   * CreateNetwork has made the network in the registry as `provisionalName`, since Docker told no name: to be renamed.
   * @param networkId Docker's
   */
  networkMade(networkId: string, provisionalName: string): void;
  /** Join has attached the endpoint: its container's name can be asked for. The identifiers are Docker's. */
  endpointJoined(networkId: string, endpointId: string): void;
  /**
   * While the network's rename is under way: settles with it. CreateEndpoint waits for it, not for long.
   * Rejects (VtepError) if the network can't have its name: endpoints are refused with that sentence.
   */
  pendingName(networkId: string): Promise<void> | undefined;
}

/** Where nobody asks Docker's API. */
export const NO_HOOKS: DockerHooks = {
  networkMade: () => {},
  endpointJoined: () => {},
  pendingName: () => undefined,
};
