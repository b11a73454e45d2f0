import { Fleet, FleetError } from '@glasshouse/client';

/** A link that works once: its token makes this tab's own, and is taken out of use. */
export interface SignInLink {
  token: string;
  /** Id of its token. */
  ticket: string;
  /** A session to go to at once. */
  open: string | null;
}

/** For how long a tab stays signed in by a link, in seconds. */
const STAY = 43_200;

/** What a fragment says; null when it is no such link. */
export function readLink(hash: string): SignInLink | null {
  const read = new URLSearchParams(hash.slice(1));
  const [token, ticket, open] = [read.get('token'), read.get('ticket'), read.get('open')];
  if (!token || !ticket) return null;
  return { token, ticket, open: open && /^[a-z2-7]{26}$/.test(open) ? open : null };
}

/** This tab's own token. */
export async function signIn(base: URL, { token, ticket }: SignInLink): Promise<string> {
  const fleet = new Fleet(base, token);
  try {
    const made = (await (await fleet.request('POST', 'tokens', { name: 'console', powers: ['admin'], expires_in_seconds: STAY })).json()) as { token: string };
    await fleet.request('DELETE', `tokens/${encodeURIComponent(ticket)}`);
    return made.token;
  } catch (error) {
    if (error instanceof FleetError && error.status === 401) throw new Error('This link has been used already, or is older than ten minutes. Sign in with a token.');
    throw error;
  }
}

/** Why an OpenID provider's people are not let in, as the server says it behind the `#`. */
const refusals: Record<string, string> = {
  stale: 'That took too long, or was begun in another window. Sign in again.',
  denied: 'Your provider has not signed you in.',
  provider: 'Your provider does not answer as it should. Try again, or tell whoever runs this server.',
  stranger: 'Your account may not use this server. Ask whoever runs it.',
};

/** Takes such a reason out of the address bar; null when there is none. */
export function takeRefusal(location: Location, history: History): string | null {
  const word = new URLSearchParams(location.hash.slice(1)).get('signin');
  if (word === null) return null;
  history.replaceState(history.state, '', location.pathname + location.search);
  return refusals[word] ?? null;
}
