/** Reads the parts of an OpenAPI document that a form can be made of. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  enum?: unknown[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  example?: unknown;
}

export interface Document {
  components?: { schemas?: Record<string, Schema> };
}

/** One input of a form. `path` is as the API names it in errors: `screen.width`. */
export interface Field {
  path: string;
  label: string;
  about: string;
  kind: 'text' | 'number' | 'whole' | 'switch' | 'choice' | 'lines' | 'pairs';
  options: string[];
  min?: number;
  max?: number;
  example: string;
}

export interface Group {
  label: string;
  about: string;
  fields: Field[];
}

/** The schema itself, behind references and beside `null`. What describes the property wins over what describes its type. */
function resolve(document: Document, schema: Schema): Schema {
  const name = schema.$ref?.split('/').at(-1);
  if (name) return { ...resolve(document, document.components?.schemas?.[name] ?? {}), ...(schema.description ? { description: schema.description } : {}) };
  const one = (schema.oneOf ?? schema.anyOf ?? schema.allOf)?.filter(({ type }) => type !== 'null');
  if (one?.length === 1 && one[0]) return { ...resolve(document, one[0]), ...(schema.description ? { description: schema.description } : {}) };
  // An enumeration with a description of each value.
  if (one && one.length > 1) return { ...schema, type: 'string', enum: one.flatMap((each) => each.enum ?? []) };
  return schema;
}

const typeOf = ({ type }: Schema): string | undefined => (Array.isArray(type) ? type.find((one) => one !== 'null') : type);

const shortNames: Record<string, string> = { mib: '(MiB)', seconds: '(s)', fps: 'frames per second', pids: 'processes', cpu: 'processors', url: 'address' };

/** `memory_mib` → `Memory (MiB)`. */
export function labelOf(name: string): string {
  const text = name
    .split('_')
    .map((word) => shortNames[word] ?? word)
    .join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function fieldOf(document: Document, path: string, raw: Schema): Field | null {
  const schema = resolve(document, raw);
  const base = {
    path,
    label: labelOf(path.split('.').at(-1) ?? path),
    about: (raw.description ?? schema.description ?? '').replaceAll('`', ''),
    options: (schema.enum ?? []).filter((value): value is string => typeof value === 'string'),
    example: Array.isArray(schema.example) ? schema.example.join('\n') : String(schema.example ?? ''),
    ...(schema.minimum === undefined ? {} : { min: schema.minimum }),
    ...(schema.maximum === undefined ? {} : { max: schema.maximum }),
  };
  const type = typeOf(schema);
  if (base.options.length > 0) return { ...base, kind: 'choice' };
  if (type === 'string') return { ...base, kind: 'text' };
  if (type === 'integer') return { ...base, kind: 'whole' };
  if (type === 'number') return { ...base, kind: 'number' };
  if (type === 'boolean') return { ...base, kind: 'switch' };
  if (type === 'array' && schema.items && typeOf(resolve(document, schema.items)) === 'string') return { ...base, kind: 'lines' };
  if (type === 'object' && typeof schema.additionalProperties === 'object' && !schema.properties) return { ...base, kind: 'pairs' };
  return null;
}

/** Inputs for the properties of a schema of a document, except those whose names are in `known`. */
export function groupsOf(document: Document, name: string, known: readonly string[]): Group[] {
  const single: Group = { label: '', about: '', fields: [] };
  const groups = [single];
  const properties = document.components?.schemas?.[name]?.properties ?? {};
  for (const [key, raw] of Object.entries(properties)) {
    if (known.includes(key)) continue;
    const field = fieldOf(document, key, raw);
    if (field) {
      single.fields.push(field);
      continue;
    }
    const schema = resolve(document, raw);
    const fields = Object.entries(schema.properties ?? {}).map(([inner, property]) => fieldOf(document, `${key}.${inner}`, property));
    const usable = fields.filter((each) => each !== null);
    if (usable.length > 0) groups.push({ label: labelOf(key), about: (raw.description ?? schema.description ?? '').replaceAll('`', ''), fields: usable });
  }
  return groups.filter(({ fields }) => fields.length > 0);
}

/** `A=b` lines as an object. */
export function pairs(text: string): Record<string, string> {
  const lines = text.split('\n').filter((line) => line.trim());
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf('=');
      return at < 0 ? [line.trim(), ''] : [line.slice(0, at).trim(), line.slice(at + 1)];
    }),
  );
}

/** The value of an input for the API; undefined when it is left as it is. */
export function valueOf(field: Field, text: string): unknown {
  if (text.trim() === '') return undefined;
  switch (field.kind) {
    case 'number':
    case 'whole':
      return Number(text);
    case 'switch':
      return text === 'true';
    case 'lines':
      return text
        .split('\n')
        .map((line) => line.trim())
        .filter(Boolean);
    case 'pairs':
      return pairs(text);
    default:
      return text.trim();
  }
}

/** Puts a value at a path such as `limits.cpu`. */
export function put(target: Record<string, unknown>, path: string, value: unknown): void {
  const [first = '', ...rest] = path.split('.');
  if (rest.length === 0) target[first] = value;
  else {
    const inner = (target[first] ??= {}) as Record<string, unknown>;
    put(inner, rest.join('.'), value);
  }
}
