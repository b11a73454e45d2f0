import type { Fleet, FleetSession, Power, Share } from '@glasshouse/client';
import { type FormEvent, type ReactElement, Suspense, lazy, useCallback, useEffect, useRef, useState } from 'react';
import { Dialog } from './dialog.tsx';
import { title } from './format.ts';

const QrCode = lazy(() => import('./qr-code.tsx'));

type Chosen = Extract<Power, 'view' | 'control' | 'admin'>;
const powers: { power: Chosen; label: string; about: string }[] = [
  { power: 'view', label: 'View', about: 'Sees and hears, never controls.' },
  { power: 'control', label: 'Control', about: 'Takes mouse and keyboard, and may freeze or end the session.' },
  { power: 'admin', label: 'Admin', about: 'Also decides who is in control, and makes links of its own.' },
];
const times: [number, string][] = [
  [3_600, '1 hour'],
  [86_400, '1 day'],
  [604_800, '1 week'],
  [2_592_000, '30 days'],
];

const strongest = (all: Power[]): string => powers.findLast(({ power }) => all.includes(power))?.label ?? all.join(', ');
const when = (time: string | null): string => (time ? new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' }) : 'no end');

/** Makes links to a session, shows those there are, and takes them back. */
export function ShareDialog({ fleet, session, onClose }: { fleet: Fleet; session: FleetSession; onClose: () => void }): ReactElement {
  const [power, setPower] = useState<Chosen>('view');
  const [seconds, setSeconds] = useState(86_400);
  const [name, setName] = useState('');
  const [made, setMade] = useState<Share | null>(null);
  const [copied, setCopied] = useState(false);
  const [shares, setShares] = useState<Share[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const link = useRef<HTMLInputElement>(null);
  const { id } = session;

  const fail = useCallback((error: unknown): void => setProblem(error instanceof Error ? error.message : String(error)), []);
  const renew = useCallback((): Promise<void> => fleet.shares(id).then(setShares, fail), [fleet, id, fail]);
  useEffect(() => void renew(), [renew]);

  const make = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      const share = await fleet.share(id, { powers: [power], expires_in_seconds: seconds, ...(name.trim() ? { name: name.trim() } : {}) });
      setMade(share);
      setCopied(false);
      await renew();
      link.current?.select();
    } catch (error) {
      fail(error);
    } finally {
      setBusy(false);
    }
  };
  const copy = async (url: string): Promise<void> => {
    const done = await navigator.clipboard?.writeText(url).then(
      () => true,
      () => false,
    );
    link.current?.select();
    setCopied(done || document.execCommand('copy'));
  };
  const revoke = (share: Share): void => {
    setProblem(null);
    fleet
      .unshare(id, share.id)
      .catch(fail)
      .then(renew, fail);
    if (made?.id === share.id) setMade(null);
  };

  return (
    <Dialog title={`Share ${title(session)}`} onClose={onClose} wide>
      <form onSubmit={(event) => void make(event)}>
        <fieldset className="choices">
          <legend>Whoever opens the link can</legend>
          {powers.map((choice, index) => (
            <label key={choice.power} className="choice">
              <input type="radio" name="power" value={choice.power} checked={power === choice.power} onChange={() => setPower(choice.power)} {...(index === 0 ? { 'data-autofocus': '' } : {})} />
              <span>
                <b>{choice.label}</b>
                <small>{choice.about}</small>
              </span>
            </label>
          ))}
        </fieldset>
        <div className="pair">
          <label>
            Works for
            <select value={seconds} onChange={(event) => setSeconds(Number(event.target.value))}>
              {times.map(([value, label]) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          </label>
          <label>
            <span>
              For whom <small>(optional)</small>
            </span>
            <input value={name} onChange={(event) => setName(event.target.value)} maxLength={100} placeholder="Ann, support" />
          </label>
        </div>
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <footer>
          <button type="submit" className="primary" disabled={busy}>
            Make a link
          </button>
        </footer>
      </form>
      {made?.url && (
        <section className="made" aria-label="The new link">
          <Suspense fallback={<span className="qr" />}>
            <QrCode text={made.url} label="QR code of the link" />
          </Suspense>
          <div>
            <p>
              <b>{strongest(made.powers)}</b> until {when(made.expires_at)}. It is shown this once.
            </p>
            <input ref={link} readOnly value={made.url} aria-label="Link" onFocus={(event) => event.target.select()} />
            <button type="button" onClick={() => void copy(made.url ?? '')}>
              {copied ? 'Copied' : 'Copy'}
            </button>
          </div>
        </section>
      )}
      {shares.length > 0 && (
        <section aria-label="Links there are">
          <h3>Links</h3>
          <ul className="shares">
            {shares.map((share) => (
              <li key={share.id}>
                <span className="power">{strongest(share.powers)}</span>
                <span className="for">
                  {share.name || 'Unnamed'}
                  <small>until {when(share.expires_at)}</small>
                </span>
                <button type="button" className="danger" aria-label={`Take back the link for ${share.name || 'unnamed'}`} onClick={() => revoke(share)}>
                  Take back
                </button>
              </li>
            ))}
          </ul>
          <small>Who came by a link leaves the session when it is taken back. When it expires, nobody new comes in.</small>
        </section>
      )}
    </Dialog>
  );
}
