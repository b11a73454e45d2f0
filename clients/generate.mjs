// Makes the types of both client libraries from openapi/fleet.json and openapi/session.json, which `update.mjs` takes from a server.
//
//   node clients/generate.mjs            writes typescript/src/generated, and _{fleet,session}_types.py and _sync.py in python/src/glasshouse
//   node clients/generate.mjs --check    fails when they are not as it would write them

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const HERE = import.meta.dirname;
const NOTICE = (name) => `Made by clients/generate.mjs from openapi/${name}.json: do not edit.`;
const KEYWORDS = new Set(['from', 'class', 'import', 'in', 'is', 'not', 'or', 'and', 'with', 'global', 'pass', 'async', 'await']);

const named = (reference) => reference.split('/').at(-1);
const alternatives = (schema) => schema.oneOf ?? schema.anyOf;
const kinds = (schema) => [schema.type].flat();

/** The properties of an object, those of all its parts too, and the names of those that it must have. */
function members(schema, schemas) {
  const parts = (schema.allOf ?? []).map((part) => members(part.$ref ? schemas[named(part.$ref)] : part, schemas));
  const required = new Set([...parts.flatMap((part) => [...part.required]), ...(schema.required ?? [])]);
  return { properties: Object.assign({}, ...parts.map((part) => part.properties), schema.properties), required };
}

const isObject = (schema) => Boolean(schema.properties || schema.allOf);

/** A type in TypeScript. */
function typescript(schema) {
  if (schema.$ref) return named(schema.$ref);
  if (alternatives(schema)) return [...new Set(alternatives(schema).map(typescript))].join(' | ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  return kinds(schema).map((kind) => {
    if (kind === 'array') return schema.items?.type || schema.items?.$ref ? `Array<${typescript(schema.items)}>` : 'unknown[]';
    if (kind === 'object') return `Record<string, ${schema.additionalProperties ? typescript(schema.additionalProperties) : 'unknown'}>`;
    return { integer: 'number', number: 'number', string: 'string', boolean: 'boolean', null: 'null' }[kind] ?? 'unknown';
  }).join(' | ');
}

/** A type in Python, with names of other schemas quoted, as they may come later. */
function python(schema) {
  if (schema.$ref) return named(schema.$ref);
  if (alternatives(schema)) return [...new Set(alternatives(schema).map(python))].join(' | ');
  if (schema.enum) return `Literal[${schema.enum.map((value) => JSON.stringify(value)).join(', ')}]`;
  return kinds(schema).map((kind) => {
    if (kind === 'array') return `list[${schema.items?.type || schema.items?.$ref ? python(schema.items) : 'Any'}]`;
    if (kind === 'object') return `dict[str, ${schema.additionalProperties ? python(schema.additionalProperties) : 'Any'}]`;
    return { integer: 'int', number: 'float', string: 'str', boolean: 'bool', null: 'None' }[kind] ?? 'Any';
  }).join(' | ');
}

const line = (text) => text.replaceAll(/\s*\n\s*/g, ' ').trim();

function forTypescript(name, schemas) {
  const out = [`// ${NOTICE(name)}`];
  const about = (text, indent = '') => { if (text) out.push(`${indent}/** ${line(text).replaceAll('*/', '*\\/')} */`); };
  for (const [type, schema] of Object.entries(schemas)) {
    out.push('');
    about(schema.description);
    if (!isObject(schema)) {
      out.push(`export type ${type} = ${typescript(schema)};`);
      continue;
    }
    const { properties, required } = members(schema, schemas);
    out.push(`export interface ${type} {`);
    for (const [key, property] of Object.entries(properties)) {
      about(property.description, '  ');
      const optional = required.has(key) ? '' : '?';
      out.push(`  ${/^\w+$/.test(key) ? key : JSON.stringify(key)}${optional}: ${typescript(property)}${optional && ' | undefined'};`);
    }
    out.push('}');
  }
  return `${out.join('\n')}\n`;
}

function forPython(name, schemas) {
  const body = [];
  const sentence = (text) => line(text).replaceAll('\\', '\\\\').replaceAll('"""', "'''");
  for (const [type, schema] of Object.entries(schemas)) {
    body.push('', '');
    if (!isObject(schema)) {
      if (schema.description) body.push(`# ${sentence(schema.description)}`);
      body.push(`${type} = ${schema.$ref || alternatives(schema) ? JSON.stringify(python(schema)) : python(schema)}`);
      continue;
    }
    const { properties, required } = members(schema, schemas);
    const all = Object.entries(properties);
    const doc = schema.description ? [`    """${sentence(schema.description)}"""`] : [];
    // Words of the language are names of fields in the other form only.
    if (all.some(([key]) => KEYWORDS.has(key))) {
      const total = all.every(([key]) => required.has(key));
      if (schema.description) body.push(`# ${sentence(schema.description)}`);
      body.push(`${type} = TypedDict(`, `    "${type}",`, `    {${all.map(([key, one]) => `"${key}": "${python(one)}"`).join(', ')}},`, ...(total ? [] : ['    total=False,']), ')');
      continue;
    }
    const fields = (some) => some.flatMap(([key, one]) => [`    ${key}: ${python(one)}`, ...(one.description ? [`    """${sentence(one.description)}"""`] : [])]);
    const [must, may] = [all.filter(([key]) => required.has(key)), all.filter(([key]) => !required.has(key))];
    if (must.length && may.length) {
      body.push(`class _${type}(TypedDict):`, ...fields(must), '', '', `class ${type}(_${type}, total=False):`, ...doc, '', ...fields(may));
    } else {
      body.push(`class ${type}(TypedDict${may.length ? ', total=False' : ''}):`, ...doc, ...(doc.length && all.length ? [''] : []), ...fields(all), ...(all.length || doc.length ? [] : ['    pass']));
    }
  }
  const text = body.join('\n');
  const used = ['Any', 'Literal', 'TypedDict'].filter((word) => new RegExp(`\\b${word}\\b`).test(text));
  return `"""Types of the API. ${NOTICE(name)}"""\n\n# ruff: noqa\nfrom __future__ import annotations\n\nfrom typing import ${used.join(', ')}\n${text}\n`;
}

/** The client that waits, made of the one for asyncio by other words. */
const WORDS = [
  [/^import asyncio\n/m, ''], [/\basyncio\.sleep\b/g, 'time.sleep'], [/playwright\.async_api/g, 'playwright.sync_api'], [/\basync_playwright\b/g, 'sync_playwright'],
  [/\basync (def|with|for)\b/g, '$1'], [/\bawait (?=\()/g, ''], [/\bawait /g, ''], [/__aenter__/g, '__enter__'], [/__aexit__/g, '__exit__'],
  [/\baclose\b/g, 'close'], [/\baread\b/g, 'read'], [/\baiter_lines\b/g, 'iter_lines'], [/AsyncIterator, Awaitable, Callable/g, 'Callable, Iterator'],
  [/Callable\[\[\], Awaitable\[Any\]\]/g, 'Callable[[], Any]'], [/\bAsync(?=[A-Z])/g, ''], [/for asyncio\./, 'for programs that wait.'],
  [/^"""[^\n]*"""\n/, (first) => `${first}\n# Made of _async.py by clients/generate.mjs: do not edit.\n# ruff: noqa\n`],
];

/** What the files should be: path → text. */
export function generated() {
  const files = new Map();
  const source = readFileSync(join(HERE, 'python/src/glasshouse/_async.py'), 'utf8');
  files.set(join(HERE, 'python/src/glasshouse/_sync.py'), WORDS.reduce((text, [word, other]) => text.replace(word, other), source));
  for (const name of ['fleet', 'session']) {
    const { schemas } = JSON.parse(readFileSync(join(HERE, 'openapi', `${name}.json`), 'utf8')).components;
    files.set(join(HERE, 'typescript/src/generated', `${name}.ts`), forTypescript(name, schemas));
    files.set(join(HERE, 'python/src/glasshouse', `_${name}_types.py`), forPython(name, schemas));
  }
  return files;
}

/** Paths of those that are not as they should be. */
export function stale() {
  const read = (path) => { try { return readFileSync(path, 'utf8'); } catch { return null; } };
  return [...generated()].filter(([path, text]) => read(path) !== text).map(([path]) => path);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  if (process.argv.includes('--check')) {
    const paths = stale();
    if (paths.length) {
      console.error(`error: not as clients/openapi says: ${paths.join(', ')}; run node clients/generate.mjs`);
      process.exit(1);
    }
  } else {
    for (const [path, text] of generated()) writeFileSync(path, text);
  }
}
