// Elements from code. Text is always text: nothing here parses HTML.
//
//   h('button', { class: 'primary', type: 'button', onclick: save, disabled: true }, 'Save')
//   h('div', { class: ['row', open && 'open'], 'aria-label': 'Rows', 'data-id': 7 }, child, [more], null)
//   svg('path', { d: 'M0 0' })
//   replace(node, ...children)       // instead of what it holds
//   on(target, 'keydown', f, signal) // listens until the signal aborts

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element with properties (or attributes) and children; null, false and undefined are left out. */
export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  append(node, children);
  return node;
}

/** The same for SVG; everything is an attribute. */
export function svg(tag, props, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  append(node, children);
  return node;
}

/** Puts `children` in the place of what `node` holds. */
export function replace(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

/** Adds children: nodes, text, numbers, nested arrays. */
export function append(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

/** Listens until `signal` aborts. */
export function on(target, name, listener, signal) {
  target.addEventListener(name, listener, { signal });
}

let ids = 0;

/** An id that no other element has, for labels. */
export function uid(prefix = 'id') {
  ids += 1;
  return `${prefix}-${ids}`;
}

function set(node, name, value) {
  if (value === null || value === undefined) return;
  if (name === 'class') {
    node.className = Array.isArray(value) ? value.filter(Boolean).join(' ') : value || '';
  } else if (name === 'style') {
    for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
  } else if (name === 'dataset') {
    Object.assign(node.dataset, value);
  } else if (name.startsWith('on')) {
    node.addEventListener(name.slice(2).toLowerCase(), value);
  } else if (name.includes('-') || name === 'role' || name === 'for' || !(name in node)) {
    if (value === false && !name.startsWith('aria-')) return;
    node.setAttribute(name, value === true && !name.startsWith('aria-') ? '' : value);
  } else {
    try {
      node[name] = value;
    } catch {
      node.setAttribute(name, value);
    }
  }
}
