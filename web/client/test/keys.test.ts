import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Keyboard, type KeyInput } from '../src/keyboard.ts';
import { charKeysym, keysym } from '../src/keysyms.ts';
import { edit } from '../src/text-input.ts';

const press = (key: string, code: string, more: Partial<KeyInput> = {}): KeyInput => ({
  key, code, location: 0, repeat: false, ctrlKey: false, altKey: false, shiftKey: false, metaKey: false, isComposing: false, keyCode: 0, ...more,
});

describe('keysyms', () => {
  it.each([
    ['a', 'KeyA', 0, 0x61], ['A', 'KeyA', 0, 0x41], ['ä', 'Quote', 0, 0xe4], ['€', 'KeyE', 0, 0x010020ac], ['ж', 'Semicolon', 0, 0x01000436], ['😀', '', 0, 0x0101f600],
    ['Enter', 'Enter', 0, 0xff0d], ['Enter', 'NumpadEnter', 3, 0xff8d], ['7', 'Digit7', 0, 0x37], ['7', 'Numpad7', 3, 0xffb7], ['Home', 'Numpad7', 3, 0xff95], ['Home', 'Home', 0, 0xff50],
    ['.', 'NumpadDecimal', 3, 0xffae], [',', 'NumpadDecimal', 3, 0xffac], ['/', 'NumpadDivide', 3, 0xffaf],
    ['Shift', 'ShiftLeft', 1, 0xffe1], ['Shift', 'ShiftRight', 2, 0xffe2], ['Control', 'ControlRight', 2, 0xffe4], ['AltGraph', 'AltRight', 2, 0xfe03], ['Meta', 'MetaLeft', 1, 0xffeb],
    ['F1', 'F1', 0, 0xffbe], ['F12', 'F12', 0, 0xffc9], ['F24', 'F24', 0, 0xffd5], [' ', 'Space', 0, 0x20],
  ])('%s (%s, %i)', (key, code, location, wanted) => expect(keysym({ key, code, location })).toBe(wanted));
  it.each(['Dead', 'Process', 'Unidentified', 'Compose', 'Fn', 'constructor', 'ab', ''])('leaves %j alone', (key) => expect(keysym({ key, code: '', location: 0 })).toBe(0));
  it('makes characters of control codes only where there is a key', () => {
    expect(['\n', '\t', '\x07', '\x7f', '\x9f'].map(charKeysym)).toEqual([0xff0d, 0xff09, 0, 0, 0]);
  });
});

describe('keyboard', () => {
  let sent: string[];
  const make = (options = {}): Keyboard => new Keyboard((sym, down) => sent.push(`${down ? '+' : '-'}${sym.toString(16)}`), { mac: false, windows: false, commandIsControl: true, ...options });
  beforeEach(() => {
    sent = [];
    vi.useFakeTimers();
  });
  afterEach(() => vi.useRealTimers());

  it('releases what the same key pressed, whatever it would be now', () => {
    const keyboard = make();
    keyboard.down(press('Shift', 'ShiftLeft', { location: 1, shiftKey: true }));
    keyboard.down(press('A', 'KeyA', { shiftKey: true }));
    keyboard.up(press('Shift', 'ShiftLeft', { location: 1 }));
    keyboard.up(press('a', 'KeyA'));
    expect(sent).toEqual(['+ffe1', '+41', '-ffe1', '-41']);
    expect(keyboard.held).toEqual([]);
  });

  it('leaves repeats to the desktop', () => {
    const keyboard = make();
    for (let i = 0; i < 5; i++) keyboard.down(press('x', 'KeyX', { repeat: i > 0 }));
    keyboard.up(press('x', 'KeyX'));
    expect(sent).toEqual(['+78', '-78']);
  });

  it('lets everything go once', () => {
    const keyboard = make();
    keyboard.down(press('Control', 'ControlLeft', { location: 1, ctrlKey: true }));
    keyboard.down(press('c', 'KeyC', { ctrlKey: true }));
    keyboard.releaseAll();
    keyboard.releaseAll();
    expect(sent).toEqual(['+ffe3', '+63', '-63', '-ffe3']);
    expect(keyboard.up(press('c', 'KeyC'))).toBe(false);
  });

  it('releases a modifier whose keyup the system swallowed', () => {
    const keyboard = make();
    keyboard.down(press('Alt', 'AltLeft', { location: 1, altKey: true }));
    keyboard.down(press('x', 'KeyX'));
    expect(sent).toEqual(['+ffe9', '-ffe9', '+78']);
  });

  it('takes Control and AltGr of Windows for AltGr alone', () => {
    const keyboard = make({ windows: true });
    keyboard.down(press('Control', 'ControlLeft', { location: 1, ctrlKey: true }));
    keyboard.down(press('AltGraph', 'AltRight', { location: 2, ctrlKey: true, altKey: true }));
    keyboard.down(press('@', 'KeyQ', { ctrlKey: true, altKey: true, getModifierState: () => true }));
    keyboard.up(press('@', 'KeyQ', { ctrlKey: true, altKey: true }));
    keyboard.up(press('Control', 'ControlLeft', { location: 1, altKey: true }));
    keyboard.up(press('AltGraph', 'AltRight', { location: 2 }));
    expect(sent).toEqual(['+fe03', '+40', '-40', '-fe03']);
  });

  it('takes Ctrl+Alt of Windows that makes a character for that character', () => {
    const keyboard = make({ windows: true });
    keyboard.down(press('Control', 'ControlLeft', { location: 1, ctrlKey: true }));
    vi.advanceTimersByTime(100);
    keyboard.down(press('Alt', 'AltLeft', { location: 1, ctrlKey: true, altKey: true }));
    keyboard.down(press('@', 'KeyQ', { ctrlKey: true, altKey: true, getModifierState: (name) => name === 'AltGraph' }));
    expect(sent).toEqual(['+ffe3', '+ffe9', '-ffe3', '-ffe9', '+40', '+ffe3', '+ffe9']);
  });

  it('sends Control of Windows at once when another key follows, and after a moment by itself', () => {
    const keyboard = make({ windows: true });
    keyboard.down(press('Control', 'ControlLeft', { location: 1, ctrlKey: true }));
    keyboard.down(press('c', 'KeyC', { ctrlKey: true }));
    expect(sent).toEqual(['+ffe3', '+63']);
    keyboard.releaseAll();
    sent = [];
    keyboard.down(press('Control', 'ControlLeft', { location: 1, ctrlKey: true }));
    vi.advanceTimersByTime(50);
    expect(sent).toEqual(['+ffe3']);
  });

  it('on a Mac: Command is Control and keys under it are let go at once', () => {
    const keyboard = make({ mac: true });
    keyboard.down(press('Meta', 'MetaLeft', { location: 1, metaKey: true }));
    keyboard.down(press('c', 'KeyC', { metaKey: true }));
    keyboard.up(press('Meta', 'MetaLeft', { location: 1 }));
    expect(sent).toEqual(['+ffe3', '+63', '-63', '-ffe3']);
  });

  it('on a Mac: a key held before Command goes with it', () => {
    const keyboard = make({ mac: true });
    keyboard.down(press('x', 'KeyX'));
    keyboard.down(press('Meta', 'MetaRight', { location: 2, metaKey: true }));
    keyboard.up(press('Meta', 'MetaRight', { location: 2 }));
    expect(sent).toEqual(['+78', '+ffe4', '-ffe4', '-78']);
  });

  it('on a Mac: Option that makes a character is not Alt', () => {
    const keyboard = make({ mac: true });
    keyboard.down(press('Alt', 'AltLeft', { location: 1, altKey: true }));
    keyboard.down(press('€', 'KeyE', { altKey: true }));
    expect(sent).toEqual(['+ffe9', '-ffe9', '+10020ac', '+ffe9']);
  });

  it('leaves composition to the input method', () => {
    const keyboard = make();
    expect(keyboard.down(press('Dead', 'Quote'))).toBe(false);
    expect(keyboard.down(press('n', 'KeyN', { isComposing: true }))).toBe(false);
    expect(keyboard.down(press('a', 'KeyA', { keyCode: 229 }))).toBe(false);
    expect(sent).toEqual([]);
  });

  it('types text as Unicode', () => {
    make().type('é\r\n世😀');
    expect(sent).toEqual(['+e9', '-e9', '+ff0d', '-ff0d', '+1004e16', '-1004e16', '+101f600', '-101f600']);
  });

  it('presses a chord whatever is held, and gives back what is held', () => {
    const keyboard = make();
    keyboard.down(press('Control', 'ControlLeft', { location: 1, ctrlKey: true }));
    sent = [];
    keyboard.chord(0xffe3, 0x76);
    expect(sent).toEqual(['-ffe3', '+ffe3', '+76', '-76', '-ffe3', '+ffe3']);
    keyboard.up(press('Control', 'ControlLeft', { location: 1 }));
    expect(sent.at(-1)).toBe('-ffe3');
  });
});

it('changes growing words at their end', () => {
  expect(edit('hel', 'hello')).toEqual({ remove: 0, add: 'lo' });
  expect(edit('helo', 'hello')).toEqual({ remove: 1, add: 'lo' });
  expect(edit('ni', '你')).toEqual({ remove: 2, add: '你' });
  expect(edit('a😀', 'a')).toEqual({ remove: 1, add: '' });
});
