// <virtual-list>: a table of any number of rows, of which only the visible ones exist.
//
//   const list = document.createElement('virtual-list');
//   list.configure({
//     label: 'Devices',
//     rowHeight: 36,                                    // default; px, the same for all
//     columns: [{ label: 'Device', width: 'minmax(10rem, 2fr)', cell: (row, index) => node | text,
//                 narrow: false,                        // not shown on a phone
//                 class: 'mono', head: node }],         // `head` instead of the label
//     fetch: async (offset, count, signal) => rows,     // a page; may answer fewer rows
//     pageSize: 100,
//     rowAt: (index) => row,                            // instead of `fetch`: rows that are in memory
//     onActivate: (row, index) => …,                    // Enter, or a click on the row
//     onToggle: (row, index) => …,                      // the space key, for selections
//     rowClass: (row) => '',                            // `selected` has a look of its own
//     onError: (error) => …,
//     empty: node,                                      // shown when there is nothing
//   });
//   list.count = 1_000_000;    // how many rows there are; does not forget pages
//   list.refresh();            // forgets pages and fetches what is visible again (rows stay meanwhile)
//   list.redraw();             // draws the visible rows again from what is known
//   list.shift(n);             // n rows were put in front: what is in sight stays, unless at the top and not pressed
//   list.show(index);          // scrolls there and makes it the current row
//   list.pressed               // the pointer is down on a row: better leave the rows where they are
// Give it a height; with the class `fill` it takes what is left of the window below its place.
// Keys: arrows, Page Up and Down, Home, End, Enter, Space. Links in cells want tabIndex -1.
//
// Browsers cap an element's height (33 million px and less), which a million rows are above. Beyond
// MAX the scroll bar stands for the place proportionally, and wheel, touch and keys move by pixels.

import { h, replace, uid } from '../lib/html.js';

const MAX = 6_000_000;
/** Height of the head, as in the style sheet. */
const HEAD = 32;
const OVERSCAN = 4;
const KEPT_PAGES = 40;
/** A page must be in sight this long before it is asked for: dragging past it costs nothing. */
const SETTLE = 40;
const NARROW = 640;
/** A list that fills the window is no lower than this, and leaves so much below. */
const LOWEST = 320;
const BELOW = 24;

class VirtualList extends HTMLElement {
  #options = null;
  #count = 0;
  #top = 0;
  #physical = 0;
  #current = 0;
  #rows = new Map();
  #pages = new Map();
  #asked = new Map();
  #parts = null;
  #frame = 0;
  #timer = 0;
  #resync = 0;
  #generation = 0;
  #resize = null;
  /** The row that the pointer went down on: by the time it is up, another may be in its place. */
  #pressed = null;

  configure(options) {
    this.#options = { rowHeight: 36, pageSize: 100, ...options };
    this.#build();
    return this;
  }

  connectedCallback() {
    this.#resize = new ResizeObserver(() => {
      this.#stretch();
      this.#schedule();
    });
    // What stands above may grow and shrink.
    this.#resize.observe(document.body);
    if (this.#parts) this.#resize.observe(this.#parts.scroller);
    this.#schedule();
  }

  disconnectedCallback() {
    this.#resize?.disconnect();
    clearTimeout(this.#timer);
    clearTimeout(this.#resync);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#callOff();
  }

  get count() {
    return this.#count;
  }

  set count(value) {
    this.#count = value;
    this.#current = Math.max(0, Math.min(this.#current, value - 1));
    this.#parts?.scroller.setAttribute('aria-rowcount', value + 1);
    this.#measure();
    this.#moveTo(this.#top);
    this.#schedule();
  }

  /** The row that the keyboard is on. */
  get current() {
    return this.#current;
  }

  /** A row if it is known. */
  row(index) {
    const { pageSize, rowAt } = this.#options;
    if (rowAt) return rowAt(index);
    return this.#pages.get(Math.floor(index / pageSize))?.rows[index % pageSize];
  }

  refresh() {
    this.#callOff();
    this.#generation += 1;
    this.#schedule();
  }

  redraw() {
    for (const row of this.#rows.values()) row.drawn = undefined;
    this.#schedule();
  }

  shift(rows) {
    if (this.#top < 1 && !this.pressed) return;
    this.#current = Math.max(0, Math.min(this.#current + rows, this.#count - 1));
    this.#moveTo(this.#top + rows * this.#options.rowHeight);
  }

  /** Puts the focus on the rows. */
  focus(options) {
    this.#parts?.scroller.focus(options);
  }

  show(index) {
    this.#current = Math.max(0, Math.min(index, this.#count - 1));
    this.#reveal();
  }

  #build() {
    const { label, columns, rowHeight, empty } = this.#options;
    const narrow = columns.filter((column) => column.narrow !== false);
    const widths = (list) => list.map((column) => column.width ?? 'minmax(6rem, 1fr)').join(' ');
    this.style.setProperty('--columns', widths(columns));
    this.style.setProperty('--columns-narrow', widths(narrow));
    this.style.setProperty('--row-height', `${rowHeight}px`);
    const head = h('div', { class: 'vl-row vl-head', role: 'row', 'aria-rowindex': '1' },
      columns.map((column) => h('div', { role: 'columnheader', class: this.#cellClass(column) }, column.head ?? column.label)));
    const layer = h('div', { class: 'vl-layer', role: 'presentation' });
    const space = h('div', { class: 'vl-space', role: 'presentation' }, layer);
    const scroller = h('div', {
      class: 'vl-scroller', role: 'grid', tabIndex: 0, 'aria-label': label, 'aria-rowcount': this.#count + 1, 'aria-colcount': columns.length,
    }, head, space);
    const nothing = h('div', { class: 'vl-empty', hidden: true }, empty ?? 'Nothing here.');
    replace(this, scroller, nothing);
    this.#rows.clear();
    this.#parts = { scroller, space, layer, nothing };
    scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    scroller.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    scroller.addEventListener('keydown', (event) => this.#key(event));
    scroller.addEventListener('pointerdown', (event) => { this.#press(event); });
    scroller.addEventListener('click', (event) => this.#click(event));
    scroller.addEventListener('focus', () => this.#mark());
    if (this.isConnected) this.#resize?.observe(scroller);
    this.#measure();
    this.#schedule();
  }

  #stretch() {
    if (!this.classList.contains('fill')) return;
    const padding = parseFloat(getComputedStyle(document.body).paddingBottom);
    const top = this.getBoundingClientRect().top + scrollY;
    const height = `${Math.max(LOWEST, Math.floor(innerHeight - top - padding - BELOW))}px`;
    if (this.style.height !== height) this.style.height = height;
  }

  #cellClass(column) {
    return ['vl-cell', column.class, column.narrow === false && 'wide-only'].filter(Boolean).join(' ');
  }

  get #total() {
    return this.#count * this.#options.rowHeight;
  }

  get #height() {
    return Math.max(0, this.#parts.scroller.clientHeight - HEAD);
  }

  get #scaled() {
    return this.#total > MAX;
  }

  #measure() {
    if (!this.#parts) return;
    this.#parts.space.style.height = `${Math.min(this.#total, MAX)}px`;
    this.#parts.nothing.hidden = this.#count > 0;
  }

  #clamp(top) {
    return Math.max(0, Math.min(top, this.#total - this.#height));
  }

  /** Where the scroll bar belongs for a place in the list. */
  #barOf(top) {
    if (!this.#scaled) return top;
    return (top / Math.max(1, this.#total - this.#height)) * (MAX - this.#height);
  }

  #moveTo(top) {
    if (!this.#parts) return;
    this.#top = this.#clamp(top);
    this.#parts.scroller.scrollTop = this.#barOf(this.#top);
    this.#physical = this.#parts.scroller.scrollTop;
    this.#schedule();
  }

  #scrolled() {
    const now = this.#parts.scroller.scrollTop;
    const moved = now - this.#physical;
    if (Math.abs(moved) < 1) return;
    this.#physical = now;
    if (!this.#scaled) {
      this.#top = now;
    } else if (Math.abs(moved) < this.#height) {
      // A finger: by pixels. The bar is put right once it rests.
      this.#top = this.#clamp(this.#top + moved);
      clearTimeout(this.#resync);
      this.#resync = setTimeout(() => this.#moveTo(this.#top), 150);
    } else {
      const share = now / Math.max(1, MAX - this.#height);
      this.#top = this.#clamp(share * (this.#total - this.#height));
    }
    this.#schedule();
  }

  #wheel(event) {
    if (!this.#scaled || event.ctrlKey || event.shiftKey) return;
    const unit = [1, this.#options.rowHeight, this.#height][event.deltaMode];
    const before = this.#top;
    this.#moveTo(this.#top + event.deltaY * unit);
    // At the ends the page around may go on.
    if (this.#top !== before) event.preventDefault();
  }

  #key(event) {
    if (event.target !== this.#parts.scroller || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.#height / this.#options.rowHeight) - 1);
    const to = {
      ArrowDown: this.#current + 1, ArrowUp: this.#current - 1, PageDown: this.#current + page,
      PageUp: this.#current - page, Home: 0, End: this.#count - 1,
    }[event.key];
    const row = this.row(this.#current);
    if (to !== undefined && this.#count > 0) {
      this.#current = Math.max(0, Math.min(to, this.#count - 1));
      this.#reveal();
    } else if (event.key === 'Enter' && row !== undefined) {
      this.#options.onActivate?.(row, this.#current);
    } else if (event.key === ' ' && row !== undefined && this.#options.onToggle) {
      this.#options.onToggle(row, this.#current);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Whether the pointer is down on a row: who adds rows leaves them where they are. */
  get pressed() {
    return this.#pressed !== null;
  }

  #press(event) {
    this.#pressed = this.#pointed(event);
    const release = () => { this.#pressed = null; };
    // The click comes right after.
    addEventListener('pointerup', () => setTimeout(release), { once: true });
    addEventListener('pointercancel', release, { once: true });
  }

  #pointed({ target }) {
    const node = target.closest('.vl-layer .vl-row');
    if (!node) return null;
    const index = Number(node.getAttribute('aria-rowindex')) - 2;
    return { index, row: this.row(index), control: target.closest('a, button, input, label, select') };
  }

  #click(event) {
    const pointed = this.#pressed ?? this.#pointed(event);
    this.#pressed = null;
    if (!pointed) return;
    const { index, row, control } = pointed;
    this.#current = Math.min(index, this.#count - 1);
    this.#mark();
    if (!control && row !== undefined && !String(getSelection())) this.#options.onActivate?.(row, index);
  }

  #reveal() {
    const { rowHeight } = this.#options;
    const top = this.#current * rowHeight;
    if (top < this.#top) this.#moveTo(top);
    else if (top + rowHeight > this.#top + this.#height) this.#moveTo(top + rowHeight - this.#height);
    this.#schedule();
  }

  #mark() {
    for (const [index, row] of this.#rows) {
      row.node.classList.toggle('current', index === this.#current);
    }
    const row = this.#rows.get(this.#current);
    if (row) this.#parts.scroller.setAttribute('aria-activedescendant', row.node.id);
    else this.#parts.scroller.removeAttribute('aria-activedescendant');
  }

  #schedule() {
    if (this.#frame || !this.isConnected || !this.#parts) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { rowHeight, rowClass } = this.#options;
    const height = this.#height;
    if (height === 0) return;
    const first = Math.max(0, Math.floor(this.#top / rowHeight) - OVERSCAN);
    const end = Math.min(this.#count, Math.ceil((this.#top + height) / rowHeight) + OVERSCAN);
    const spare = [];
    for (const [index, row] of this.#rows) {
      if (index >= first && index < end) continue;
      spare.push(row);
      this.#rows.delete(index);
    }
    for (let index = first; index < end; index += 1) {
      let row = this.#rows.get(index);
      if (!row) {
        row = spare.pop() ?? this.#newRow();
        row.drawn = undefined;
        row.node.setAttribute('aria-rowindex', index + 2);
        this.#rows.set(index, row);
      }
      const value = this.row(index);
      if (row.drawn === undefined || row.drawn !== value) this.#fill(row, value, index, rowClass);
      row.node.style.transform = `translateY(${index * rowHeight - this.#top}px)`;
    }
    for (const row of spare) row.node.remove();
    this.#mark();
    if (!this.#options.rowAt) this.#want(first, end);
  }

  #newRow() {
    const cells = this.#options.columns.map((column) => h('div', { role: 'gridcell', class: this.#cellClass(column) }));
    const node = h('div', { class: 'vl-row', role: 'row', id: uid('row') }, cells);
    this.#parts.layer.append(node);
    return { node, cells, drawn: undefined };
  }

  #fill(row, value, index, rowClass) {
    row.drawn = value === undefined ? null : value;
    row.node.className = `vl-row ${value === undefined ? 'loading' : rowClass?.(value, index) ?? ''}`;
    this.#options.columns.forEach((column, at) => {
      replace(row.cells[at], value === undefined ? null : column.cell(value, index));
    });
  }

  #want(first, end) {
    const { pageSize } = this.#options;
    const wanted = [];
    for (let page = Math.floor(first / pageSize); page * pageSize < end; page += 1) {
      const known = this.#pages.get(page);
      if (known) {
        // The most lately used are at the end.
        this.#pages.delete(page);
        this.#pages.set(page, known);
      }
      if (known?.generation !== this.#generation) wanted.push(page);
    }
    for (const [page, controller] of this.#asked) {
      if (!wanted.includes(page)) {
        controller.abort();
        this.#asked.delete(page);
      }
    }
    clearTimeout(this.#timer);
    const missing = wanted.filter((page) => !this.#asked.has(page));
    if (missing.length > 0) this.#timer = setTimeout(() => missing.forEach((page) => this.#ask(page)), SETTLE);
  }

  async #ask(page) {
    const { fetch, pageSize, onError } = this.#options;
    const offset = page * pageSize;
    const count = Math.min(pageSize, this.#count - offset);
    if (count <= 0 || this.#asked.has(page)) return;
    const controller = new AbortController();
    const generation = this.#generation;
    this.#asked.set(page, controller);
    let rows;
    try {
      rows = await fetch(offset, count, controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) {
        onError?.(error);
        // Not again at each frame; a refresh or a longer way around does.
        rows = this.#pages.get(page)?.rows ?? [];
      }
    }
    if (this.#asked.get(page) === controller) this.#asked.delete(page);
    if (controller.signal.aborted || !rows) return;
    this.#pages.set(page, { rows, generation });
    while (this.#pages.size > KEPT_PAGES) this.#pages.delete(this.#pages.keys().next().value);
    this.#schedule();
  }

  #callOff() {
    for (const controller of this.#asked.values()) controller.abort();
    this.#asked.clear();
  }
}

customElements.define('virtual-list', VirtualList);

/** Whether the list shows the columns of a phone. */
export function isNarrow() {
  return innerWidth < NARROW;
}

/** A configured <virtual-list>. */
export function virtualList(options) {
  return document.createElement('virtual-list').configure(options);
}
