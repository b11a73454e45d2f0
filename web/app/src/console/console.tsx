import { Fleet, type Person } from '@glasshouse/client';
import { type ReactElement, useCallback, useEffect, useMemo, useState, useSyncExternalStore } from 'react';
import { saveFleetToken } from '../fleet-pass.ts';
import { Sessions } from './sessions.tsx';
import { SignIn } from './sign-in.tsx';
import { Store } from './store.ts';

/** Who uses the console: by a token of this tab, or as somebody who has signed in. */
type User = { token: string } | { person: Person };

/** The console: sign-in, then all sessions. */
export function Console({ base, token: first, problem: told = null }: { base: URL; token: string | null; problem?: string | null }): ReactElement {
  const [user, setUser] = useState<User | null>(first === null ? null : { token: first });
  const [problem, setProblem] = useState<string | null>(told);
  const leave = useCallback(
    (why: string | null): void => {
      saveFleetToken(base, null);
      setUser(null);
      setProblem(why);
    },
    [base],
  );
  const signOut = useCallback((): void => {
    // Only when the cookie is gone: the form would find it again.
    if (user && 'person' in user) void new Fleet(base, null).signOut().then(() => leave(null), (error: unknown) => leave(error instanceof Error ? error.message : String(error)));
    else leave(null);
  }, [base, leave, user]);
  if (user === null) {
    return (
      <SignIn
        base={base}
        problem={problem}
        onToken={(token) => {
          saveFleetToken(base, token);
          setProblem(null);
          setUser({ token });
        }}
        onPerson={(person) => {
          setProblem(null);
          setUser({ person });
        }}
      />
    );
  }
  const token = 'token' in user ? user.token : null;
  return <SignedIn key={token} base={base} token={token} name={'person' in user ? user.person.name : null} onLeave={signOut} onRefused={leave} />;
}

interface SignedInProps {
  base: URL;
  token: string | null;
  name: string | null;
  onLeave: () => void;
  onRefused: (why: string) => void;
}

function SignedIn({ base, token, name, onLeave, onRefused }: SignedInProps): ReactElement {
  const store = useMemo(() => new Store(new Fleet(base, token)), [base, token]);
  const known = useSyncExternalStore(store.subscribe, store.snapshot);
  useEffect(() => {
    store.start();
    return () => store.stop();
  }, [store]);
  useEffect(() => {
    if (known.refused === null) return;
    if (token === null) onRefused('You are no longer signed in, or may not see sessions here.');
    else onRefused('This token is not valid here: it may have expired or been revoked, or is for one session only.');
  }, [known.refused, onRefused, token]);
  return <Sessions store={store} known={known} name={name} onLeave={onLeave} />;
}
