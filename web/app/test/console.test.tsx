// @vitest-environment happy-dom
import { act, cleanup, configure, fireEvent, render, screen, waitFor, within } from '@testing-library/react';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Console } from '../src/console/console.tsx';
import { BASE, FakeFleet, TOKEN, Views, session } from './fake-fleet.ts';

// Only bounds a failure: the machine may be busy.
configure({ asyncUtilTimeout: 30_000 });

let fleet: FakeFleet;
let views: Views;

beforeEach(() => {
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
  sessionStorage.clear();
  fleet = new FakeFleet();
  fleet.install();
  views = new Views();
  views.install();
});
afterEach(cleanup);

const open = (): unknown => render(<Console base={BASE} token={TOKEN} />);
const cards = (): HTMLElement[] => screen.queryAllByRole('listitem').filter((item) => item.classList.contains('card'));
const card = (name: string): HTMLElement => {
  const found = cards().find((one) => within(one).queryByRole('heading', { name }));
  if (!found) throw new Error(`no card ${name}`);
  return found;
};

test('three hundred sessions: all are counted and found, sixty are made at a time, none is looked at before it is in view', async () => {
  fleet.sessions = Array.from({ length: 300 }, (_, index) => session(index));
  open();
  await waitFor(() => expect(cards()).toHaveLength(60));
  expect(screen.getByRole('button', { name: /All 300/ })).toBeTruthy();
  expect(fleet.count('GET', '/thumbnail')).toBe(0);
  // Newest first.
  expect(within(cards()[0]!).getByRole('heading').textContent).toBe('session-299');
  const seen = card('session-250');
  act(() => views.set(seen, true));
  await waitFor(() => expect(seen.querySelector('img')).toBeTruthy());
  const looked = new Set(fleet.asked.filter(({ path }) => /thumbnail|usage/.test(path)).map(({ path }) => path.split('/')[3]));
  expect([...looked]).toEqual([session(250).id]);
  fireEvent.click(screen.getByRole('button', { name: /Show more \(240\)/ }));
  expect(cards()).toHaveLength(120);
  act(() => views.set(screen.getByRole('button', { name: /Show more/ }), true));
  expect(cards()).toHaveLength(180);
  fireEvent.change(screen.getByRole('searchbox'), { target: { value: 'session-7' } });
  // session-7, 70 to 79.
  await waitFor(() => expect(cards()).toHaveLength(11));
});

test('a picture is asked for with the tag of the one that is there, and not while it is out of view', async () => {
  fleet.sessions = [session(1)];
  open();
  const seen = await waitFor(() => card('session-1'));
  act(() => views.set(seen, true));
  await waitFor(() => expect(fleet.count('GET', '/thumbnail')).toBeGreaterThan(1));
  const looks = fleet.asked.filter(({ path }) => path.endsWith('/thumbnail'));
  expect(looks[0]?.headers['If-None-Match']).toBeUndefined();
  expect(looks[1]?.headers['If-None-Match']).toBe('"session-1"');
  expect(await within(seen).findByText('250 MB')).toBeTruthy();
  act(() => views.set(seen, false));
  const before = fleet.count('GET', '/thumbnail');
  act(() => views.set(seen, true));
  await waitFor(() => expect(fleet.count('GET', '/thumbnail')).toBeGreaterThan(before));
});

test('events change cards, bring new ones and take ended ones away; what was missed is read again', async () => {
  fleet.sessions = [session(1), session(2)];
  open();
  await waitFor(() => expect(screen.getByText('Live')).toBeTruthy());
  await waitFor(() => expect(cards()).toHaveLength(2));
  act(() => fleet.tell(session(1, { state: 'frozen' })));
  await waitFor(() => expect(within(card('session-1')).getByRole('button', { name: 'Thaw session-1' })).toBeTruthy());
  act(() => fleet.tell(session(3, { state: 'creating' })));
  await waitFor(() => expect(cards()).toHaveLength(3));
  expect(within(card('session-3')).queryByRole('link')).toBeNull();
  act(() => fleet.tell(session(2, { state: 'failed', reason: 'the browser died' })));
  await waitFor(() => expect(cards()).toHaveLength(2));
  fleet.sessions = [...fleet.sessions, session(4)];
  act(() => fleet.drop());
  await waitFor(() => expect(card('session-4')).toBeTruthy());
});

test('freezing, thawing and deleting ask the server; deleting asks the person first', async () => {
  fleet.sessions = [session(1)];
  open();
  await waitFor(() => expect(cards()).toHaveLength(1));
  fireEvent.click(screen.getByRole('button', { name: 'Freeze session-1' }));
  fireEvent.click(await screen.findByRole('button', { name: 'Thaw session-1' }));
  await screen.findByRole('button', { name: 'Freeze session-1' });
  fireEvent.click(screen.getByRole('button', { name: 'Delete session-1' }));
  const dialog = await screen.findByRole('dialog', { name: 'Delete session-1?' });
  expect(document.activeElement?.textContent).toBe('Keep it');
  expect(fleet.asked.some(({ method }) => method === 'DELETE')).toBe(false);
  fireEvent.click(within(dialog).getByRole('button', { name: 'Delete' }));
  await waitFor(() => expect(cards()).toHaveLength(0));
  expect(screen.queryByRole('dialog')).toBeNull();
  expect(screen.getByText('No session runs.', { exact: false })).toBeTruthy();
});

test('the form says what was wrong beside the field, and sends every option that the server describes', async () => {
  fleet.answers.set('GET openapi.json', () => ({
    json: {
      components: {
        schemas: {
          Spec: {
            properties: {
              url: { type: ['string', 'null'] },
              programs: { type: ['string', 'null'], enum: ['together', 'person-first', 'watch-only'] },
              labels: { type: 'object', additionalProperties: { type: 'string' }, description: 'Words.' },
              sound: { type: ['boolean', 'null'] },
              limits: { oneOf: [{ type: 'null' }, { $ref: '#/components/schemas/Resources' }] },
            },
          },
          Resources: { properties: { memory_mib: { type: ['integer', 'null'], minimum: 64 } } },
        },
      },
    },
  }));
  let tries = 0;
  fleet.answers.set('POST api/v1/sessions', ({ body }) =>
    ++tries === 1
      ? { status: 422, json: { detail: 'limits.memory_mib: from 64', errors: [{ field: 'limits.memory_mib', message: 'from 64 to 1048576 MiB' }, { field: 'name', message: 'the name is bad' }] } }
      : { status: 201, json: session(9, { name: (body as { name: string }).name }) },
  );
  open();
  await waitFor(() => expect(screen.getByText('Live')).toBeTruthy());
  // One in the bar, one in the empty list.
  fireEvent.click(screen.getAllByRole('button', { name: 'New session' })[0]!);
  const form = await screen.findByRole('dialog', { name: 'New session' });
  const type = (label: RegExp | string, value: string): unknown => fireEvent.change(within(form).getByLabelText(label), { target: { value } });
  type('Address', 'example.com');
  type(/^Name/, '-x');
  type('Size', '1920x1080');
  type('Ends when unused for', '900');
  expect(within(form).getByLabelText('Programs act')).toHaveProperty('value', 'together');
  type('Programs act', 'person-first');
  expect(within(form).getByText(/programs wait/)).toBeTruthy();
  const details = form.querySelector('details');
  if (details) {
    details.open = true;
    fireEvent(details, new Event('toggle'));
  }
  fireEvent.change(await within(form).findByLabelText('Memory (MiB)'), { target: { value: '1' } });
  type('Labels', 'team=blue\nroom=7');
  type('Sound', 'false');
  fireEvent.click(within(form).getByRole('button', { name: 'Create' }));
  await waitFor(() => expect(within(form).getByText('the name is bad')).toBeTruthy());
  const name = within(form).getByLabelText(/^Name/);
  expect(name.getAttribute('aria-invalid')).toBe('true');
  expect(within(form).getByText('from 64 to 1048576 MiB')).toBeTruthy();
  type(/^Name/, 'nine');
  type('Memory (MiB)', '512');
  fireEvent.click(within(form).getByRole('button', { name: 'Create' }));
  await waitFor(() => expect(card('nine')).toBeTruthy());
  const [first, second] = fleet.asked.filter(({ method }) => method === 'POST');
  expect(second?.body).toEqual({
    app: 'chromium',
    url: 'https://example.com',
    name: 'nine',
    screen: { width: 1920, height: 1080 },
    programs: 'person-first',
    idle_timeout_seconds: 900,
    labels: { team: 'blue', room: '7' },
    sound: false,
    limits: { memory_mib: 512 },
  });
  expect(second?.headers['Idempotency-Key']).not.toBe(first?.headers['Idempotency-Key']);
  // As the server has it by itself, it is not said, so that older servers need not know it.
  fireEvent.click(screen.getAllByRole('button', { name: 'New session' })[0]!);
  fireEvent.click(within(await screen.findByRole('dialog', { name: 'New session' })).getByRole('button', { name: 'Create' }));
  await waitFor(() => expect(fleet.asked.filter(({ method }) => method === 'POST')).toHaveLength(3));
  expect(Object.keys(fleet.asked.filter(({ method }) => method === 'POST')[2]?.body as object)).toEqual(['app', 'screen']);
});

test('a link is made with powers and a time, shown once with its code, and taken back', async () => {
  fleet.sessions = [session(1)];
  const { id } = session(1);
  const share = { id: 'one', name: 'Ann', powers: ['control'], created_at: '2026-01-01T00:00:00Z', expires_at: '2026-01-08T00:00:00Z' };
  let shares: unknown[] = [];
  fleet.answers.set(`GET api/v1/sessions/${id}/share`, () => ({ json: { shares } }));
  fleet.answers.set(`POST api/v1/sessions/${id}/share`, () => {
    shares = [share];
    return { status: 201, json: { ...share, url: 'http://fleet.test/desk/s/x/#token=gh_secret' } };
  });
  fleet.answers.set(`DELETE api/v1/sessions/${id}/share/one`, () => {
    shares = [];
    return { status: 204 };
  });
  open();
  await waitFor(() => expect(cards()).toHaveLength(1));
  fireEvent.click(screen.getByRole('button', { name: 'Share session-1' }));
  const dialog = await screen.findByRole('dialog', { name: 'Share session-1' });
  fireEvent.click(within(dialog).getByRole('radio', { name: /^Control/ }));
  fireEvent.change(within(dialog).getByLabelText('Works for'), { target: { value: '604800' } });
  fireEvent.change(within(dialog).getByLabelText(/^For whom/), { target: { value: 'Ann' } });
  fireEvent.click(within(dialog).getByRole('button', { name: 'Make a link' }));
  await waitFor(() => expect(within(dialog).getByRole('img', { name: /QR code/ })).toBeTruthy());
  expect(fleet.asked.find(({ method }) => method === 'POST')?.body).toEqual({ powers: ['control'], expires_in_seconds: 604_800, name: 'Ann' });
  expect(within(dialog).getByLabelText('Link')).toHaveProperty('value', 'http://fleet.test/desk/s/x/#token=gh_secret');
  fireEvent.click(await within(dialog).findByRole('button', { name: 'Take back the link for Ann' }));
  await waitFor(() => expect(within(dialog).queryByText('Ann')).toBeNull());
  expect(within(dialog).queryByLabelText('Link')).toBeNull();
});

test('a token that is no good leads back to the sign-in, and one that is typed stays in this tab', async () => {
  fleet.token = 'gh_other';
  open();
  await waitFor(() => expect(screen.getByRole('alert').textContent).toContain('not valid'));
  expect(sessionStorage.length).toBe(0);
  fireEvent.change(screen.getByLabelText('Token'), { target: { value: ' gh_other ' } });
  fireEvent.click(screen.getByRole('button', { name: 'Sign in' }));
  await waitFor(() => expect(screen.getByText('Live')).toBeTruthy());
  expect(sessionStorage.getItem('glasshouse:/desk/:fleet')).toBe('gh_other');
  fireEvent.click(screen.getByRole('button', { name: 'Sign out' }));
  expect(sessionStorage.length).toBe(0);
  await screen.findByLabelText('Token');
});

test('people sign in by the ways that the server has, and are told why not; nothing of it is kept in the tab', async () => {
  const ways = { password: true, oidc: true, user: null };
  let right = false;
  fleet.answers.set('GET api/v1/login', () => ({ json: ways }));
  fleet.answers.set('POST api/v1/login', ({ body }) => {
    right = (body as { password: string }).password === 'right';
    return right ? { json: { name: 'ann', powers: ['view'] } } : { status: 401, json: { detail: 'the name or the password is wrong' } };
  });
  fleet.answers.set('DELETE api/v1/login', () => ({ status: 204 }));
  render(<Console base={BASE} token={null} />);
  fireEvent.change(await screen.findByLabelText('Name'), { target: { value: ' ann ' } });
  expect(screen.getByRole('link', { name: 'Single sign-on' }).getAttribute('href')).toBe('http://fleet.test/desk/api/v1/login/oidc');
  expect(screen.queryByLabelText('Token')).toBeNull();
  const password = screen.getByLabelText('Password');
  expect(password.getAttribute('type')).toBe('password');
  fireEvent.click(screen.getByRole('button', { name: 'Show the password' }));
  expect(password.getAttribute('type')).toBe('text');
  fireEvent.change(password, { target: { value: 'wrong' } });
  fireEvent.click(screen.getByRole('button', { name: 'Sign in' }));
  expect((await screen.findByRole('alert')).textContent).toBe('The name or the password is wrong.');
  expect(password).toHaveProperty('value', '');
  expect(document.activeElement).toBe(password);
  fireEvent.change(password, { target: { value: 'right' } });
  fireEvent.click(screen.getByRole('button', { name: 'Sign in' }));
  await screen.findByText('ann');
  expect(fleet.asked.findLast(({ method, path }) => method === 'POST' && path === 'api/v1/login')?.body).toEqual({ name: 'ann', password: 'right' });
  expect(fleet.asked.filter(({ headers }) => headers['Authorization'])).toEqual([]);
  expect(sessionStorage.length).toBe(0);
  // The list is refused by this stand-in, which knows tokens only: as a cookie that is good no more is.
  expect((await screen.findByRole('alert')).textContent).toContain('no longer signed in');
});
