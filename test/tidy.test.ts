/**
 * The house rules that a machine can hold: the import law of the layers, what a hot file may contain, files that nothing
 * reaches, sizes and names, and lists in docs that must say what the code says.
 *
 * Sources are parsed by TypeScript, so that a word in a comment or a string is never taken for code.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES } from '../src/control/errors.js';
import { DROP_CAUSES } from '../src/shared/drop-causes.js';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const LINES_MAX = 450;
const OWN_FOLDERS = ['src', 'test', 'bench', 'scripts', 'docker', 'docs'];
const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  bin: Record<string, string>;
  dependencies: Record<string, string>;
};

interface Reference {
  /** As written. */
  specifier: string;
  /** `url`: `new URL(specifier, import.meta.url)`, how a worker's entry is named. */
  form: 'import' | 'url';
  /** Inside the repository, with .ts; undefined for a package or a builtin. */
  target: string | undefined;
}

/** Every file under the project's own folders, as paths from the repository's root. */
function listFiles(folder: string): string[] {
  if (!existsSync(join(ROOT, folder))) return [];
  return readdirSync(join(ROOT, folder), { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? listFiles(join(folder, entry.name)) : [join(folder, entry.name)]))
    .sort();
}

const readText = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const parseText = (path: string, text: string): ts.SourceFile =>
  ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true, ts.ScriptKind.TS);

function visitAll(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => visitAll(child, visit));
}

function references(path: string, source: ts.SourceFile): Reference[] {
  const found: Reference[] = [];
  const add = (literal: ts.Node | undefined, form: Reference['form']) => {
    if (literal === undefined || !ts.isStringLiteralLike(literal)) return;
    const specifier = literal.text;
    const inside = specifier.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(path), specifier)) : undefined;
    found.push({ specifier, form, target: inside?.replace(/\.js$/, '.ts') });
  };
  visitAll(source, (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier, 'import');
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, 'import');
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], 'import');
    else if (ts.isCallExpression(node) && node.expression.getText(source) === 'require')
      add(node.arguments[0], 'import');
    else if (ts.isNewExpression(node) && node.expression.getText(source) === 'URL') add(node.arguments?.[0], 'url');
  });
  return found;
}

const SOURCES = listFiles('src').filter((path) => path.endsWith('.ts'));
const PARSED = new Map(SOURCES.map((path) => [path, parseText(path, readText(path))] as const));

// --- the import law --------------------------------------------------------------------------------------------------

interface Law {
  /** Path prefixes (or whole paths) that files of the layer may import, besides their own layer. */
  inside: readonly string[];
  /** Of those, what they still may not. */
  never?: readonly string[];
  builtins: boolean;
  packages: readonly string[];
}

const PACKAGES = Object.keys(MANIFEST.dependencies);
const WITHOUT_KOFFI = PACKAGES.filter((name) => name !== 'koffi');
const CLI_LAW: Law = {
  inside: [
    'src/cli/',
    'src/control/api/',
    'src/control/errors.ts',
    'src/control/usage-message.ts',
    'src/control/version.ts',
    'src/control/vtep-address.ts',
  ],
  builtins: true,
  packages: WITHOUT_KOFFI,
};

const LAWS: Record<string, Law> = {
  'src/wire/': { inside: [], builtins: false, packages: [] },
  'src/sys/': { inside: [], builtins: true, packages: ['koffi'] },
  'src/shared/': { inside: ['src/wire/'], builtins: false, packages: [] },
  'src/dataplane/': {
    inside: ['src/wire/', 'src/sys/', 'src/shared/'],
    never: ['src/shared/writers/'],
    builtins: true,
    packages: [],
  },
  'src/control/': { inside: ['src/wire/', 'src/sys/', 'src/shared/'], builtins: true, packages: WITHOUT_KOFFI },
  'src/cli/': CLI_LAW,
  'src/cli.ts': CLI_LAW,
  'src/cni.ts': { inside: [], builtins: true, packages: [] },
  'src/daemon.ts': { inside: ['src/control/'], builtins: true, packages: WITHOUT_KOFFI },
  'src/ui/': { inside: [], builtins: false, packages: [] },
};

/** The one way over the wall: a worker's entry, named by URL and never imported. */
const WORKER_URLS = [
  { from: 'src/control/supervisor.ts', to: 'src/dataplane/worker.ts' },
  { from: 'src/control/forwarding-tables.ts', to: 'src/dataplane/worker.ts' },
];

function layerOf(path: string): string | undefined {
  return Object.keys(LAWS).find((layer) => (layer.endsWith('/') ? path.startsWith(layer) : path === layer));
}

const reaches = (target: string, places: readonly string[]): boolean =>
  places.some((place) => (place.endsWith('/') ? target.startsWith(place) : target === place));

/** What in this file breaks the law, one line each. */
function lawBreaks(path: string, source: ts.SourceFile): string[] {
  const layer = layerOf(path);
  if (layer === undefined) return [`${path} is in no layer of the design`];
  const law = LAWS[layer]!;
  const broken: string[] = [];
  for (const { specifier, form, target } of references(path, source)) {
    const line = `${path} reaches ${specifier}`;
    if (target !== undefined) {
      if (form === 'url' && WORKER_URLS.some(({ from, to }) => from === path && to === target)) continue;
      if (form === 'url' && !target.startsWith('src/')) continue;
      const allowed = target.startsWith(layer) || reaches(target, law.inside);
      if (!allowed || reaches(target, law.never ?? [])) broken.push(line);
      continue;
    }
    if (form === 'url') continue;
    if (specifier.startsWith('node:')) {
      if (!law.builtins) broken.push(line);
      continue;
    }
    if (builtinModules.includes(specifier)) broken.push(`${line}: write node:${specifier}`);
    const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
    if (!law.packages.includes(name)) broken.push(line);
  }
  return broken;
}

describe('the import law', () => {
  it('holds in every file', () => {
    expect(SOURCES.length).toBeGreaterThan(20);
    expect([...PARSED].flatMap(([path, source]) => lawBreaks(path, source))).toEqual([]);
  });

  it.each([
    ['src/wire/a.ts', "import { b } from '../sys/b.js';"],
    ['src/wire/a.ts', "import 'node:fs';"],
    ['src/sys/a.ts', "import { b } from '../wire/b.js';"],
    ['src/shared/a.ts', "export { b } from '../sys/b.js';"],
    ['src/shared/a.ts', "import koffi from 'koffi';"],
    ['src/dataplane/a.ts', "import type { b } from '../control/b.js';"],
    ['src/dataplane/a.ts', "import { b } from '../shared/writers/b.js';"],
    ['src/dataplane/a.ts', "let b: import('../control/b.js').B;"],
    ['src/control/a.ts', "import { b } from '../dataplane/b.js';"],
    ['src/control/supervisor.ts', "await import('../dataplane/worker.js');"],
    ['src/control/a.ts', "new URL('../dataplane/worker.js', import.meta.url);"],
    ['src/control/a.ts', "import koffi from 'koffi';"],
    ['src/control/a.ts', "import x from 'no-dependency';"],
    ['src/control/a.ts', "import { readFileSync } from 'fs';"],
    ['src/cli/a.ts', "import { b } from '../control/reconcile.js';"],
    ['src/daemon.ts', "import { b } from './dataplane/b.js';"],
    ['src/elsewhere/a.ts', 'export {};'],
  ])('would catch, in %s: %s', (path, text) => {
    expect(lawBreaks(path, parseText(path, text))).toHaveLength(text.includes("'fs'") ? 2 : 1);
  });

  it.each([
    ['src/control/supervisor.ts', "new URL('../dataplane/worker.js', import.meta.url);"],
    ['src/control/api/a.ts', "import { b } from '../errors.js'; import z from 'zod'; import 'node:net';"],
    ['src/shared/writers/a.ts', "import { b } from '../fdb.js';"],
    ['src/sys/a.ts', "import koffi from 'koffi'; import 'node:os';"],
  ])('lets through, in %s: %s', (path, text) => {
    expect(lawBreaks(path, parseText(path, text))).toEqual([]);
  });
});

// --- hot files -------------------------------------------------------------------------------------------------------

const BANNED_METHODS = new Set(['subarray', 'slice', 'map', 'filter', 'forEach', 'concat', 'bind', 'toString']);
const BANNED_OBJECTS = new Set(['JSON', 'console', 'Promise', 'Object', 'BigInt']);

/** Whether a comment right before the node says `@cold`: it runs when a context is built, not for a frame. */
function isCold(node: ts.Node, source: ts.SourceFile): boolean {
  const ranges = ts.getLeadingCommentRanges(source.text, node.getFullStart()) ?? [];
  return ranges.some(({ pos, end }) => /@cold\b/.test(source.text.slice(pos, end)));
}

function bannedIn(node: ts.Node, source: ts.SourceFile): string | undefined {
  if (ts.isBigIntLiteral(node)) return 'BigInt literal';
  if (ts.isTryStatement(node)) return 'try';
  if (ts.isAwaitExpression(node) || node.kind === ts.SyntaxKind.AsyncKeyword) return 'async';
  if (ts.isArrowFunction(node) || ts.isFunctionExpression(node) || ts.isFunctionDeclaration(node)) return 'closure';
  if (ts.isNewExpression(node)) return `new ${node.expression.getText(source)}`;
  if (ts.isObjectLiteralExpression(node)) return 'object literal';
  if (ts.isArrayLiteralExpression(node)) return 'array literal';
  if (ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node)) return 'template literal';
  if (ts.isSpreadElement(node) || ts.isSpreadAssignment(node)) return 'spread';
  if (ts.isParameter(node) && node.dotDotDotToken !== undefined) return 'rest parameter';
  if (ts.isForOfStatement(node) || ts.isForInStatement(node)) return 'iterator';
  if (ts.isYieldExpression(node)) return 'generator';
  if (ts.isObjectBindingPattern(node) || ts.isArrayBindingPattern(node)) return 'destructuring';
  if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
    const method = node.expression.name.text;
    if (BANNED_METHODS.has(method)) return `${method}()`;
  }
  if (ts.isIdentifier(node) && BANNED_OBJECTS.has(node.text) && !ts.isPropertyAccessExpression(node.parent))
    return node.text;
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
    if (BANNED_OBJECTS.has(node.expression.text)) return `${node.expression.text}.`;
  }
  return undefined;
}

/**
 * Banned syntax inside the functions and methods of a hot file. What stands outside every function, in a constructor or
 * in a property's initial value runs once, when the context is built: nothing hot may say `new`.
 */
function hotBreaks(path: string, source: ts.SourceFile): string[] {
  const broken: string[] = [];
  const inspect = (node: ts.Node): void => {
    if (ts.isTypeNode(node)) return;
    const banned = bannedIn(node, source);
    if (banned !== undefined) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
      broken.push(`${path}:${line + 1} ${banned}`);
    }
    ts.forEachChild(node, inspect);
  };
  const enter = (node: ts.Node): void => {
    if (ts.isConstructorDeclaration(node) || ts.isPropertyDeclaration(node)) return;
    const callable =
      ts.isFunctionDeclaration(node) ||
      ts.isMethodDeclaration(node) ||
      ts.isAccessor(node) ||
      ts.isArrowFunction(node) ||
      ts.isFunctionExpression(node);
    if (!callable) {
      ts.forEachChild(node, enter);
    } else if (!isCold(node, source)) {
      ts.forEachChild(node, inspect);
    }
  };
  enter(source);
  return broken;
}

const isHot = (source: ts.SourceFile): boolean => {
  const header = ts.getLeadingCommentRanges(source.text, 0) ?? [];
  return header.some(({ pos, end }) => /@hot\b/.test(source.text.slice(pos, end)));
};

describe('hot files', () => {
  const hot = [...PARSED].filter(([, source]) => isHot(source));

  it('are on the way of a frame: some in the dataplane, in shared and in wire', () => {
    for (const layer of ['src/dataplane/', 'src/shared/', 'src/wire/']) {
      expect(hot.filter(([path]) => path.startsWith(layer)).length, layer).toBeGreaterThan(0);
    }
    expect(hot.filter(([path]) => path.startsWith('src/control/'))).toEqual([]);
  });

  it('make nothing for a frame', () => {
    expect(hot.flatMap(([path, source]) => hotBreaks(path, source))).toEqual([]);
  });

  it.each([
    'bytes.subarray(1);',
    'bytes.slice(1);',
    'g(...bytes);',
    'const x = BigInt(1);',
    'const x = 1n;',
    'try { g(); } finally { g(); }',
    'const f2 = () => 1;',
    'const x = new Uint8Array(1);',
    'JSON.parse(x);',
    'const x = `a`;',
    'console.log(1);',
    'const x = { a: 1 };',
    'const x = [1];',
    'for (const x of bytes) g(x);',
    'const { length } = bytes;',
  ])('would catch: %s', (statement) => {
    const path = 'src/wire/a.ts';
    expect(hotBreaks(path, parseText(path, `export function f(bytes: Uint8Array) { ${statement} }`))).not.toEqual([]);
    const method = `class A { f(bytes: Uint8Array) { ${statement} } }`;
    expect(hotBreaks(path, parseText(path, method))).not.toEqual([]);
  });

  it('would catch async, and lets through what is built once', () => {
    const path = 'src/wire/a.ts';
    const text = `
      const table = new Int32Array(4);
      class A { words = new Int32Array(1); constructor(x: number) { this.y = [x]; } y: number[]; }
      /** @cold */ export function make() { return { a: 1 }; }
      export function hot(a: number, b: { c: number }): number { return (a + b.c + table[0]!) | 0; }`;
    expect(hotBreaks(path, parseText(path, text))).toEqual([]);
    expect(hotBreaks(path, parseText(path, 'export async function f() { await g(); }'))).not.toEqual([]);
  });
});

// --- files -----------------------------------------------------------------------------------------------------------

/** Headers that the wire's set has before the frame's way needs them; each leaves this list with its first importer. */
const AHEAD: string[] = [];

/** Causes whose part of the data plane is to come; each leaves this list with it. */
const AHEAD_CAUSES: string[] = [];

describe('files', () => {
  const all = OWN_FOLDERS.flatMap(listFiles);

  it('are all reached: from a program, or by a worker URL', () => {
    const entries = Object.values(MANIFEST.bin).map((path) => path.replace(/^dist/, 'src').replace(/\.js$/, '.ts'));
    const reached = new Set<string>();
    const queue = [...entries];
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      const source = PARSED.get(path);
      if (source === undefined || reached.has(path)) continue;
      reached.add(path);
      for (const { target } of references(path, source)) if (target !== undefined) queue.push(target);
    }
    expect(entries.filter((path) => !reached.has(path))).toEqual([]);
    const unreached = SOURCES.filter((path) => !reached.has(path) && !path.endsWith('.d.ts'));
    expect(unreached).toEqual(AHEAD);
  });

  it('import nothing that is not there', () => {
    const missing = [...PARSED].flatMap(([path, source]) =>
      references(path, source)
        .filter(({ target }) => target?.endsWith('.ts') && !existsSync(join(ROOT, target)))
        .map(({ specifier }) => `${path} reaches ${specifier}`),
    );
    expect(missing).toEqual([]);
  });

  it(`have at most ${LINES_MAX} lines`, () => {
    const long = all
      .filter((path) => /\.(ts|mjs|js|sh)$/.test(path))
      .map((path) => [path, readText(path).split('\n').length] as const)
      .filter(([, lineCount]) => lineCount > LINES_MAX);
    expect(long).toEqual([]);
  });

  it('open with what they are for', () => {
    const programs = all.filter((path) => /^(src|test|bench)\/.*\.(ts|mjs)$/.test(path));
    const bare = programs.filter((path) => !/^(#!.*\n)?\/\*\*/.test(readText(path)));
    expect(bare).toEqual([]);
  });

  it('are named in kebab-case, and no folder is a drawer', () => {
    const drawers = /(^|\/)(utils?|common|helpers?|misc|lib)(\/|\.ts$)/;
    const code = all.filter((path) => /^(src|test|bench)\/.*\.ts$/.test(path));
    expect(code.filter((path) => drawers.test(path))).toEqual([]);
    expect(code.filter((path) => !/^[a-z0-9/.-]+$/.test(path))).toEqual([]);
  });

  it('put nothing off and skip no test', () => {
    // In pieces, so that this file does not find itself.
    const marks = ['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK'].map((mark) => new RegExp(`\\b${mark}\\b`));
    const skips = ['skip', 'only', 'todo', 'fails'].map((word) => new RegExp(`\\b(it|test|describe)\\.${word}\\b`));
    const found = all.flatMap((path) => {
      const text = readText(path);
      return [...marks, ...skips].filter((mark) => mark.test(text)).map((mark) => `${path}: ${mark.source}`);
    });
    expect(found).toEqual([]);
  });
});

// --- docs ------------------------------------------------------------------------------------------------------------

/** The first word in backquotes of each row of the tables of a document. */
function tableKeys(path: string): string[] {
  const rows = readText(path)
    .split('\n')
    .filter((line) => line.startsWith('|'));
  return rows.flatMap((row) => /`([^`]+)`/.exec(row)?.[1] ?? []);
}

describe('docs', () => {
  it('drops.md lists every cause by which a frame is dropped, with its text, and no other', () => {
    const text = readText('docs/drops.md');
    expect(tableKeys('docs/drops.md').sort()).toEqual(DROP_CAUSES.map(({ name }) => name).sort());
    expect(DROP_CAUSES.filter((cause) => !text.includes(cause.text)).map(({ name }) => name)).toEqual([]);
  });

  it('each cause is counted somewhere, and some test sees it counted', () => {
    const list = readText('src/shared/drop-causes.ts');
    const code = SOURCES.filter((path) => path !== 'src/shared/drop-causes.ts').map(readText);
    const tests = OWN_FOLDERS.flatMap(listFiles).filter((path) => /^test\/.*\.ts$/.test(path));
    const tested = tests.filter((path) => path !== 'test/tidy.test.ts').map(readText);
    const lacking: string[] = [];
    for (const { id, name } of DROP_CAUSES) {
      const constant = new RegExp(`^export const (\\w+) = ${id};$`, 'm').exec(list)?.[1];
      // By its constant; in tests also as a key or as text, and those of port security by their names only.
      const counted = new RegExp(`\\b${constant}\\b|'${name}'`);
      const seen = new RegExp(`\\b${constant}\\b|['"]${name}['"]|\\b(drop_)?${name}:|\\.${name}\\b|drop_${name}\\b`);
      if (!code.some((text) => counted.test(text))) lacking.push(`${name} is counted nowhere`);
      if (!tested.some((text) => seen.test(text))) lacking.push(`${name} is in no test`);
    }
    expect(lacking.filter((line) => !AHEAD_CAUSES.some((name) => line.startsWith(`${name} `)))).toEqual([]);
  });

  it('the causes count from 0 without a gap, and no two share a name', () => {
    expect(DROP_CAUSES.map(({ id }) => id)).toEqual(DROP_CAUSES.map((_, index) => index));
    expect(new Set(DROP_CAUSES.map(({ name }) => name)).size).toBe(DROP_CAUSES.length);
  });

  it('errors.md lists every error code, and no other', () => {
    expect(tableKeys('docs/errors.md').sort()).toEqual(Object.keys(ERROR_CODES).sort());
  });
});
