// Numbers and times for people.
//
//   number(1234567)  '1,234,567'     compact(1234567)  '1.23M'
//   bytes(2048)      '2 KiB'         latency(1234)     '1.23 ms'   (from microseconds)
//   duration(90_000) '1 min 30 s'    clockTime(iso)    '09:54:49.653'
//   dateTime(iso)    local date and time
//   ago(iso, now)    '3 min ago', 'in 2 h'
//   timeNode(iso)    <time> with local time, the exact value as its tooltip

import { h } from './html.js';

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });
const NEVER = '0001-01-01';

/** With separators for thousands. */
export function number(value) {
  return Number.isFinite(value) ? grouped.format(value) : '–';
}

/** Three digits and a unit. */
export function compact(value) {
  if (!Number.isFinite(value)) return '–';
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    // 9,999 is still shown in full: four digits are read at a glance.
    if (Math.abs(value) >= size * (size === 1e3 ? 10 : 1)) return `${digits(value / size)}${unit}`;
  }
  return grouped.format(Math.abs(value) < 100 ? Number(value.toFixed(1)) : Math.round(value));
}

/** Sizes in binary units. */
export function bytes(value) {
  if (!Number.isFinite(value)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : digits(value)} ${units[unit]}`;
}

/** Microseconds as a latency. */
export function latency(us) {
  if (!Number.isFinite(us)) return '–';
  if (us < 1000) return `${Math.round(us)} µs`;
  return us < 1e6 ? `${digits(us / 1000)} ms` : `${digits(us / 1e6)} s`;
}

/** Milliseconds as the two largest units. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (Math.abs(ms) < 1000) return `${Math.round(ms)} ms`;
  const units = [['d', 86_400_000], ['h', 3_600_000], ['min', 60_000], ['s', 1000]];
  let left = Math.abs(ms);
  const parts = [];
  for (const [unit, size] of units) {
    const count = Math.floor(left / size);
    if (count > 0) parts.push(`${count} ${unit}`);
    left -= count * size;
    if (parts.length === 2 || (parts.length === 1 && count === 0)) break;
  }
  return (ms < 0 ? '-' : '') + parts.join(' ');
}

/** Local time of day with milliseconds. */
export function clockTime(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return String(iso ?? '–');
  return `${date.toLocaleTimeString('en-GB')}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** Local date and time; `–` for the hub's "never". */
export function dateTime(iso) {
  if (isNever(iso)) return '–';
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return String(iso);
  const two = (part) => String(part).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${date.toLocaleTimeString('en-GB')}`;
}

/** How far from `now`, roughly. */
export function ago(iso, now = Date.now()) {
  if (isNever(iso)) return 'never';
  const ms = now - new Date(iso).getTime();
  const roughly = duration(Math.abs(ms)).split(' ').slice(0, 2).join(' ');
  if (Math.abs(ms) < 1000) return 'now';
  return ms >= 0 ? `${roughly} ago` : `in ${roughly}`;
}

/** A <time> element. */
export function timeNode(iso, text = dateTime(iso)) {
  return isNever(iso) ? h('span', { class: 'muted' }, '–') : h('time', { dateTime: iso, title: iso }, text);
}

/** Whether a time of the hub's means that it has not been. */
export function isNever(iso) {
  return !iso || String(iso).startsWith(NEVER);
}

function digits(value) {
  const size = Math.abs(value);
  const text = value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}
