import { type FormEvent, type ReactElement, useState } from 'react';
import { Mark } from '../icons.tsx';

/** Asks for a token of the fleet. */
export function SignIn({ problem, onToken }: { problem: string | null; onToken: (token: string) => void }): ReactElement {
  const [token, setToken] = useState('');
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (token.trim()) onToken(token.trim());
  };
  return (
    <main className="login">
      <form onSubmit={submit}>
        <h1>
          <Mark /> Glasshouse
        </h1>
        <p>
          Sign in with a token of this server. The admin’s is in the file <code>admin-token</code> of its state directory.
        </p>
        <label>
          Token
          <input type="password" value={token} onChange={(event) => setToken(event.target.value)} required autoFocus autoComplete="current-password" spellCheck={false} placeholder="gh_…" />
        </label>
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <button type="submit" className="primary">
          Sign in
        </button>
        <small>The token stays in this tab and is forgotten when it is closed.</small>
      </form>
    </main>
  );
}
