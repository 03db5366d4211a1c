// What the hub is, how to reach it, and what goes on.

import { append } from '../lib/html.js';
import { pageHead } from '../lib/ui.js';

export const title = 'Overview';

export function mount(root) {
  append(root, pageHead('Overview'));
  return () => {};
}
