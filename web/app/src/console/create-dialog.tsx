import { type FieldProblem, type Fleet, FleetError, type FleetSession } from '@glasshouse/client';
import { type FormEvent, type ReactElement, type ReactNode, useEffect, useId, useMemo, useRef, useState } from 'react';
import { MODES } from '../modes.ts';
import { Dialog } from './dialog.tsx';
import { type Document, type Field, type Group, groupsOf, put, valueOf } from './schema.ts';

/** Fields that have a place of their own here; all others come from the server's description of its API. */
const own = ['url', 'name', 'app', 'screen', 'programs', 'locale', 'timezone', 'idle_freeze_seconds', 'idle_timeout_seconds', 'max_lifetime_seconds'];

const sizes = ['1280x720', '1920x1080', '2560x1440', '1024x768', '390x844'];
const times: [string, string][] = [
  ['', 'Server default'],
  ['0', 'Never'],
  ['300', '5 minutes'],
  ['900', '15 minutes'],
  ['3600', '1 hour'],
  ['28800', '8 hours'],
  ['86400', '1 day'],
];

/** What people type for an address: `example.com` is one. */
export function address(text: string): string {
  const url = text.trim();
  return url === '' || url === 'about:blank' || /^[a-z][a-z0-9+.-]*:\/\//i.test(url) ? url : `https://${url}`;
}

const zones = (): string[] => {
  try {
    return Intl.supportedValuesOf('timeZone');
  } catch {
    return [];
  }
};

/** A form for a new session. */
export function CreateDialog({ fleet, onClose, onCreated }: { fleet: Fleet; onClose: () => void; onCreated: (session: FleetSession) => void }): ReactElement {
  const [values, setValues] = useState<Record<string, string>>({ app: 'chromium', size: '1280x720', programs: 'together' });
  const [groups, setGroups] = useState<Group[] | null>(null);
  const [more, setMore] = useState(false);
  const [problem, setProblem] = useState<{ text: string; fields: readonly FieldProblem[] } | null>(null);
  const [busy, setBusy] = useState(false);
  const zoneList = useId();
  const form = useRef<HTMLFormElement>(null);
  // Pressed twice, or tried again after the answer was lost, it is one session; a changed form is another.
  const key = useMemo(() => crypto.getRandomValues(new Uint32Array(4)).join('-'), [values]);
  const set = (name: string, value: string): void => setValues((old) => ({ ...old, [name]: value }));
  const value = (name: string): string => values[name] ?? '';

  useEffect(() => {
    if (!more || groups) return;
    fetch(new URL('openapi.json', fleet.base))
      .then((response) => response.json() as Promise<Document>)
      .then(
        (document) => setGroups(groupsOf(document, 'Spec', own)),
        () => setGroups([]),
      );
  }, [more, groups, fleet]);

  useEffect(() => {
    if (problem) form.current?.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
  }, [problem]);

  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    const spec: Record<string, unknown> = { app: value('app') };
    const url = address(value('url'));
    if (url && value('app') !== 'none') spec['url'] = url;
    for (const name of ['name', 'locale', 'timezone']) if (value(name).trim()) spec[name] = value(name).trim();
    for (const name of ['idle_freeze_seconds', 'idle_timeout_seconds', 'max_lifetime_seconds']) if (value(name)) spec[name] = Number(value(name));
    const [width, height] = value('size') === 'other' ? [value('screen.width'), value('screen.height')] : value('size').split('x');
    spec['screen'] = { width: Number(width), height: Number(height) };
    if (value('programs') !== 'together') spec['programs'] = value('programs');
    for (const field of groups?.flatMap(({ fields }) => fields) ?? []) {
      const given = valueOf(field, value(field.path));
      if (given !== undefined) put(spec, field.path, given);
    }
    setBusy(true);
    setProblem(null);
    try {
      onCreated(await fleet.create(spec, key));
    } catch (error) {
      const fields = error instanceof FleetError ? error.fields : [];
      if (fields.some(({ field }) => !own.includes(field.split('.')[0] ?? ''))) setMore(true);
      setProblem({ text: error instanceof Error ? error.message : String(error), fields });
      setBusy(false);
    }
  };

  // `labels` is the place of what is wrong with `labels.team`.
  const wrong = (path: string): string | undefined => problem?.fields.find(({ field }) => field === path || field.startsWith(`${path}.`))?.message;
  const places = [...own, ...(groups?.flatMap(({ fields }) => fields.map(({ path }) => path)) ?? [])];
  const placed = (field: string): boolean => places.some((path) => field === path || field.startsWith(`${path}.`));
  const elsewhere = problem && (problem.fields.length === 0 || !problem.fields.every(({ field }) => placed(field)));

  const time = (name: string, label: string): ReactElement => (
    <Labelled label={label} wrong={wrong(name)}>
      {(attributes) => (
        <select {...attributes} value={value(name)} onChange={(event) => set(name, event.target.value)}>
          {times.map(([seconds, text]) => (
            <option key={seconds} value={seconds}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Labelled>
  );

  return (
    <Dialog title="New session" onClose={onClose} wide>
      <form ref={form} onSubmit={(event) => void submit(event)} noValidate>
        <Labelled label="Address" wrong={wrong('url')}>
          {(attributes) => (
            <input {...attributes} data-autofocus="" value={value('url')} onChange={(event) => set('url', event.target.value)} placeholder="example.com" inputMode="url" autoCapitalize="off" spellCheck={false} disabled={value('app') === 'none'} />
          )}
        </Labelled>
        <div className="pair">
          <Labelled label="Name" note="optional" wrong={wrong('name')}>
            {(attributes) => <input {...attributes} value={value('name')} onChange={(event) => set('name', event.target.value)} placeholder="support-17" autoCapitalize="off" spellCheck={false} />}
          </Labelled>
          <Labelled label="Program" wrong={wrong('app')}>
            {(attributes) => (
              <select {...attributes} value={value('app')} onChange={(event) => set('app', event.target.value)}>
                <option value="chromium">Chromium</option>
                <option value="firefox">Firefox</option>
                <option value="none">Empty desktop</option>
              </select>
            )}
          </Labelled>
        </div>
        <div className="pair">
          <Labelled label="Size" wrong={value('size') === 'other' ? undefined : wrong('screen')}>
            {(attributes) => (
              <select {...attributes} value={value('size')} onChange={(event) => set('size', event.target.value)}>
                {sizes.map((size) => (
                  <option key={size} value={size}>
                    {size.replace('x', ' × ')}
                  </option>
                ))}
                <option value="other">Other…</option>
              </select>
            )}
          </Labelled>
          {value('size') === 'other' ? (
            <div className="pair tight">
              <Labelled label="Width" wrong={wrong('screen.width')}>
                {(attributes) => <input {...attributes} type="number" value={value('screen.width')} onChange={(event) => set('screen.width', event.target.value)} placeholder="1280" />}
              </Labelled>
              <Labelled label="Height" wrong={wrong('screen.height')}>
                {(attributes) => <input {...attributes} type="number" value={value('screen.height')} onChange={(event) => set('screen.height', event.target.value)} placeholder="720" />}
              </Labelled>
            </div>
          ) : (
            time('max_lifetime_seconds', 'Ends after')
          )}
        </div>
        <div className="pair">
          {time('idle_freeze_seconds', 'Freezes when unused for')}
          {time('idle_timeout_seconds', 'Ends when unused for')}
        </div>
        <Labelled label="Programs act" about={MODES.find(([mode]) => mode === value('programs'))?.[2] ?? ''} wrong={wrong('programs')}>
          {(attributes) => (
            <select {...attributes} value={value('programs')} onChange={(event) => set('programs', event.target.value)}>
              {MODES.map(([mode, text]) => (
                <option key={mode} value={mode}>
                  {text}
                </option>
              ))}
            </select>
          )}
        </Labelled>
        <details className="more-options" open={more} onToggle={(event) => setMore(event.currentTarget.open)}>
          <summary>More options</summary>
          <div className="pair">
            <Labelled label="Language" wrong={wrong('locale')}>
              {(attributes) => <input {...attributes} value={value('locale')} onChange={(event) => set('locale', event.target.value)} placeholder="de-DE" autoCapitalize="off" spellCheck={false} />}
            </Labelled>
            <Labelled label="Time zone" wrong={wrong('timezone')}>
              {(attributes) => (
                <>
                  <input {...attributes} list={zoneList} value={value('timezone')} onChange={(event) => set('timezone', event.target.value)} placeholder="Europe/Berlin" autoCapitalize="off" spellCheck={false} />
                  <datalist id={zoneList}>
                    {zones().map((zone) => (
                      <option key={zone} value={zone} />
                    ))}
                  </datalist>
                </>
              )}
            </Labelled>
          </div>
          {value('size') === 'other' && time('max_lifetime_seconds', 'Ends after')}
          {groups?.map((group) => (
            <fieldset key={group.label} className="options">
              {group.label && (
                <legend>
                  {group.label} <small>{group.about}</small>
                </legend>
              )}
              {group.fields.map((field) => (
                <Option key={field.path} field={field} value={value(field.path)} wrong={wrong(field.path)} onChange={(text) => set(field.path, text)} />
              ))}
            </fieldset>
          ))}
        </details>
        {elsewhere && (
          <p className="problem" role="alert">
            {problem.text}
          </p>
        )}
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="primary" disabled={busy}>
            {busy ? 'Creating…' : 'Create'}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

interface Attributes {
  id: string;
  'aria-invalid'?: true;
  'aria-describedby'?: string;
}

/** An input with its name, and below it what is wrong with it. */
function Labelled({ label, note, about, wrong, children }: { label: string; note?: string; about?: string; wrong?: string | undefined; children: (attributes: Attributes) => ReactNode }): ReactElement {
  const id = useId();
  const described = [wrong && `${id}-wrong`, about && `${id}-about`].filter(Boolean).join(' ');
  return (
    <div className="labelled">
      <label htmlFor={id}>
        {label} {note && <small>({note})</small>}
      </label>
      {children({ id, ...(wrong ? { 'aria-invalid': true } : {}), ...(described ? { 'aria-describedby': described } : {}) })}
      {wrong && (
        <small className="problem" id={`${id}-wrong`}>
          {wrong}
        </small>
      )}
      {about && <small id={`${id}-about`}>{about}</small>}
    </div>
  );
}

/** An option that only the server's description of its API knows. */
function Option({ field, value, wrong, onChange }: { field: Field; value: string; wrong: string | undefined; onChange: (value: string) => void }): ReactElement {
  const change = (event: { target: { value: string } }): void => onChange(event.target.value);
  return (
    <Labelled label={field.label} about={field.about} wrong={wrong}>
      {(attributes) => {
        switch (field.kind) {
          case 'choice':
          case 'switch':
            return (
              <select {...attributes} value={value} onChange={change}>
                <option value="">Server default</option>
                {field.kind === 'switch' ? (
                  <>
                    <option value="true">Yes</option>
                    <option value="false">No</option>
                  </>
                ) : (
                  field.options.map((option) => <option key={option}>{option}</option>)
                )}
              </select>
            );
          case 'lines':
          case 'pairs':
            return <textarea {...attributes} rows={2} value={value} onChange={change} placeholder={field.example || (field.kind === 'pairs' ? 'NAME=value' : '')} autoCapitalize="off" spellCheck={false} />;
          default:
            return (
              <input
                {...attributes}
                type={field.kind === 'text' ? 'text' : 'number'}
                step={field.kind === 'number' ? 'any' : undefined}
                min={field.min}
                max={field.max}
                value={value}
                onChange={change}
                placeholder={field.example}
                autoCapitalize="off"
                spellCheck={false}
              />
            );
        }
      }}
    </Labelled>
  );
}
