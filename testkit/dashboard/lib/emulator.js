// A running emulator of a test's own, on ports that the system chose.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, watch } from 'node:fs';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';

import { LIMIT, within } from './wait.js';

const BINARY = process.env.IOTHUB_EMULATOR_BIN;
const LOG = process.env.DASHBOARD_LOG;

/**
 * An emulator for all tests of a file: its members are there once the first test runs.
 * `args` are further flags of `serve`, such as `['--admin-token', 'secret']`; `prepare(emulator)` is
 * done before the first test.
 */
export function useEmulator(options = {}) {
  const emulator = new Emulator(options);
  before(async () => {
    await emulator.start();
    await options.prepare?.(emulator);
  });
  after(() => emulator.stop());
  return emulator;
}

export class Emulator {
  #options;
  #process;
  #folder;
  #serving;
  /** Settled once it serves for the first time. */
  started = new Promise((resolve) => { this.#serving = resolve; });

  constructor(options = {}) {
    this.#options = options;
  }

  /** Starts it and waits until every listener accepts. */
  async start() {
    if (!BINARY) throw new Error('IOTHUB_EMULATOR_BIN names no binary: use testkit/dashboard/run');
    this.#folder = await mkdtemp(path.join(tmpdir(), 'dashboard-'));
    await this.#serve({ mqtts: 0, mqtt: 0, amqps: 0, amqp: 0, https: 0, http: 0 });
    return this;
  }

  /** Ends it and starts it anew on the same ports; what it held in memory is gone. */
  async restart() {
    await this.#end();
    await this.#serve(this.ready.ports);
  }

  /** Ends it for good. */
  async stop() {
    await this.#end();
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
  }

  /** Ends it, so that clients see it vanish; `restart` brings it back. */
  async vanish() {
    await this.#end();
  }

  async #serve(ports) {
    const ready = path.join(this.#folder, 'ready.json');
    await rm(ready, { force: true });
    const args = ['serve', '--ready-file', ready, '--cert-dir', path.join(this.#folder, 'certs')];
    for (const name of ['mqtts', 'mqtt', 'amqps', 'amqp', 'https', 'http']) {
      args.push(`--${name}-port`, String(ports[name]));
    }
    args.push(...(this.#options.args ?? ['--in-memory']));
    const env = { ...process.env, ...this.#options.env };
    const child = spawn(BINARY, args, { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        said = (said + text).slice(-20_000);
        if (LOG) appendFile(LOG, text).catch(() => {});
      });
    }
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`the emulator ended with ${code}:\n${said}`);
    });
    ended.catch(() => {});
    await within(Promise.race([appears(ready), ended]), 'the ready file');
    this.ready = JSON.parse(await readFile(ready, 'utf8'));
    this.ca = await readFile(this.ready.ca_file, 'utf8');
    this.#serving();
  }

  async #end() {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await within(exit, 'the end of the emulator').catch(() => child.kill('SIGKILL'));
  }

  /** Where the page is, without a slash at the end. */
  get origin() {
    return `http://${this.ready.hostname}:${this.ready.ports.http}`;
  }

  /** The token that the operator needs, if the emulator was started with one. */
  get adminToken() {
    const { args = [] } = this.#options;
    const flag = args.indexOf('--admin-token');
    return flag < 0 ? undefined : args[flag + 1];
  }

  /** Memory that the process has, in bytes. */
  async memory() {
    const status = await readFile(`/proc/${this.#process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) * 1024;
  }

  /** A request to the control API: what it answers, as JSON, or an error with all that it said. */
  async control(method, where, body = undefined, headers = {}) {
    // A file's own hooks may come before the one that starts it.
    await within(this.started, 'the emulator');
    const authorization = this.adminToken ? { Authorization: `Bearer ${this.adminToken}` } : {};
    const response = await fetch(`${this.origin}/_emulator${where}`, {
      method,
      headers: { 'Content-Type': 'application/json', ...authorization, ...headers },
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${where}: ${response.status} ${text}`);
    const json = response.headers.get('content-type')?.startsWith('application/json');
    return json && text ? JSON.parse(text) : text;
  }

  /** A request to the hub's own service REST, in the operator's name. */
  hub(method, where, body = undefined, headers = {}) {
    return this.control(method, `/hub${where}`, body, headers);
  }

  /** Registers a device; answers its identity. `identity` may hold further members. */
  register(deviceId, identity = {}) {
    return this.hub('PUT', `/devices/${encodeURIComponent(deviceId)}`, { deviceId, ...identity });
  }

  /** Registers `count` devices named `prefix` and a number with as many digits as the last has. */
  async registerMany(count, prefix = 'device-', member = () => ({})) {
    const digits = String(count - 1).length;
    for (let first = 0; first < count; first += 100) {
      const some = Array.from({ length: Math.min(100, count - first) }, (_, i) => {
        const id = prefix + String(first + i).padStart(digits, '0');
        return { id, importMode: 'create', status: 'enabled', ...member(first + i) };
      });
      await this.hub('POST', '/devices', some);
    }
  }
}

/** Resolves once there is a file at `file`, which appears whole. */
async function appears(file) {
  const watcher = watch(path.dirname(file));
  try {
    // Watched before it is looked for, so that it cannot come between the two.
    while (!existsSync(file)) await once(watcher, 'change');
  } finally {
    watcher.close();
  }
}

export { LIMIT };
