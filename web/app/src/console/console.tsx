import { Fleet } from '@glasshouse/client';
import { type ReactElement, useCallback, useEffect, useMemo, useState, useSyncExternalStore } from 'react';
import { saveFleetToken } from '../fleet-pass.ts';
import { Sessions } from './sessions.tsx';
import { SignIn } from './sign-in.tsx';
import { Store } from './store.ts';

/** The console: sign-in, then all sessions. */
export function Console({ base, token: first, problem: told = null }: { base: URL; token: string | null; problem?: string | null }): ReactElement {
  const [token, setToken] = useState(first);
  const [problem, setProblem] = useState<string | null>(told);
  const leave = useCallback(
    (why: string | null): void => {
      saveFleetToken(base, null);
      setToken(null);
      setProblem(why);
    },
    [base],
  );
  if (token === null) {
    return (
      <SignIn
        problem={problem}
        onToken={(given) => {
          saveFleetToken(base, given);
          setProblem(null);
          setToken(given);
        }}
      />
    );
  }
  return <SignedIn key={token} base={base} token={token} onLeave={leave} />;
}

function SignedIn({ base, token, onLeave }: { base: URL; token: string; onLeave: (why: string | null) => void }): ReactElement {
  const store = useMemo(() => new Store(new Fleet(base, token)), [base, token]);
  const known = useSyncExternalStore(store.subscribe, store.snapshot);
  useEffect(() => {
    store.start();
    return () => store.stop();
  }, [store]);
  useEffect(() => {
    if (known.refused !== null) onLeave('This token is not valid here: it may have expired or been revoked, or is for one session only.');
  }, [known.refused, onLeave]);
  return <Sessions store={store} known={known} onLeave={() => onLeave(null)} />;
}
