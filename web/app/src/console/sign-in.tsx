import { Fleet, type Person, type Ways } from '@glasshouse/client';
import { type FormEvent, type ReactElement, useEffect, useId, useRef, useState } from 'react';
import { Icon, Mark } from '../icons.tsx';

interface SignInProps {
  base: URL;
  problem: string | null;
  onToken: (token: string) => void;
  onPerson: (person: Person) => void;
}

/** Without an answer of the server's, a token is what is left. */
const TOKEN_ONLY: Ways = { password: false, oidc: false, user: null };

/** Asks who somebody is, in the ways that the server knows: a name and a password, an OpenID provider, a token. */
export function SignIn({ base, problem, onToken, onPerson }: SignInProps): ReactElement {
  const [ways, setWays] = useState<Ways | null>(null);
  const [byToken, setByToken] = useState(false);
  const signedIn = useRef(onPerson);
  signedIn.current = onPerson;
  useEffect(() => {
    let over = false;
    new Fleet(base, null).ways().then(
      (found) => {
        if (over) return;
        if (found.user) signedIn.current(found.user);
        else setWays(found);
      },
      () => over || setWays(TOKEN_ONLY),
    );
    return () => {
      over = true;
    };
  }, [base]);
  if (ways === null) {
    return (
      <main className="login" aria-busy="true">
        <span className="spinner" role="status" aria-label="Loading" />
      </main>
    );
  }
  const hasOthers = ways.password || ways.oidc;
  const tokenIsAsked = byToken || !hasOthers;
  return (
    <main className="login">
      <div className="entrance">
        <h1>
          <Mark /> Glasshouse
        </h1>
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        {tokenIsAsked ? (
          <TokenForm isOnly={!hasOthers} onToken={onToken} />
        ) : (
          <>
            {ways.password && <PasswordForm base={base} onPerson={onPerson} />}
            {ways.password && ways.oidc && (
              <p className="or" aria-hidden="true">
                or
              </p>
            )}
            {ways.oidc && (
              <a className={`button${ways.password ? '' : ' primary'}`} href={new URL('api/v1/login/oidc', base).href}>
                Single sign-on
              </a>
            )}
          </>
        )}
        {hasOthers && (
          <button type="button" className="other" onClick={() => setByToken(!byToken)}>
            {byToken ? 'Other ways to sign in' : 'Sign in with a token'}
          </button>
        )}
      </div>
    </main>
  );
}

function PasswordForm({ base, onPerson }: { base: URL; onPerson: (person: Person) => void }): ReactElement {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [shown, setShown] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const told = useId();
  const field = useRef<HTMLInputElement>(null);
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      onPerson(await new Fleet(base, null).signIn(name.trim(), password));
    } catch (error) {
      setBusy(false);
      setPassword('');
      setProblem(error instanceof Error ? error.message : String(error));
      field.current?.focus();
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)} aria-label="Sign in">
      <label>
        Name
        <input value={name} onChange={(event) => setName(event.target.value)} maxLength={64} required autoFocus autoComplete="username" autoCapitalize="none" spellCheck={false} />
      </label>
      <div className="labelled">
        <label htmlFor={`${told}-password`}>Password</label>
        <span className="secret">
          <input
            id={`${told}-password`}
            ref={field}
            type={shown ? 'text' : 'password'}
            value={password}
            onChange={(event) => setPassword(event.target.value)}
            maxLength={1024}
            required
            autoComplete="current-password"
            autoCapitalize="none"
            spellCheck={false}
            {...(problem ? { 'aria-invalid': true, 'aria-describedby': told } : {})}
          />
          <button type="button" className="icon" aria-label="Show the password" aria-pressed={shown} title={shown ? 'Hide the password' : 'Show the password'} onClick={() => setShown(!shown)}>
            <Icon name="eye" />
          </button>
        </span>
      </div>
      {problem && (
        <p className="problem" role="alert" id={told}>
          {problem}
        </p>
      )}
      <button type="submit" className="primary" disabled={busy}>
        {busy ? 'Signing in…' : 'Sign in'}
      </button>
    </form>
  );
}

function TokenForm({ isOnly, onToken }: { isOnly: boolean; onToken: (token: string) => void }): ReactElement {
  const [token, setToken] = useState('');
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (token.trim()) onToken(token.trim());
  };
  return (
    <form onSubmit={submit} aria-label="Sign in with a token">
      <p>
        Sign in with a token of this server. {isOnly && <>The admin’s is in the file <code>admin-token</code> of its state directory.</>}
      </p>
      <label>
        Token
        <input type="password" value={token} onChange={(event) => setToken(event.target.value)} required autoFocus autoComplete="current-password" spellCheck={false} placeholder="gh_…" />
      </label>
      <button type="submit" className="primary">
        Sign in
      </button>
      <small>The token stays in this tab and is forgotten when it is closed.</small>
    </form>
  );
}
