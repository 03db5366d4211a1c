// Modal dialogs on <dialog>: Escape closes, the focus stays inside and goes back afterwards.
//
//   if (await confirm({ title: 'Delete d1?', text: 'Its twin goes, too.', action: 'Delete', danger: true })) …
//   const value = await form({
//     title: 'New device', submit: 'Create', wide: false,
//     body: [field('Device id', h('input', { name: 'id', required: true }))],
//     onSubmit: async (data, formElement) => …,   // FormData; what it answers is the result,
//   });                                           // what it throws is shown in the dialog
//   show({ title: 'Certificate', body: node })    // only to look at; promise of its end
// `form` and `show` answer undefined when the person closes the dialog. `onSubmit` may answer
// `KEEP` to leave the dialog open.

import { h, replace, uid } from '../lib/html.js';
import { failure } from '../lib/ui.js';

/** From `onSubmit`: the dialog stays. */
export const KEEP = Symbol('keep');

/** Asks; true if the person agrees. */
export async function confirm({ title, text, action = 'OK', danger = false }) {
  const done = await form({
    title, submit: action, danger, body: [typeof text === 'string' ? h('p', null, text) : text], onSubmit: () => true,
  });
  return done === true;
}

/** Something to look at. */
export function show({ title, body, wide = true, actions = [] }) {
  return open({ title, body, wide, onSubmit: null, actions });
}

/** A form; answers what `onSubmit` answered. */
export function form(options) {
  return open(options);
}

function open({ title, body, submit = 'Save', onSubmit, danger = false, wide = false, actions = [], cancel = 'Cancel' }) {
  return new Promise((resolve) => {
    const id = uid('dialog');
    const problem = h('div', { class: 'problem' });
    let result;
    const go = onSubmit ? h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, submit) : null;
    const leave = h('button', { type: 'button', onclick: () => dialog.close() }, onSubmit ? cancel : 'Close');
    const content = h('form', {
      noValidate: false,
      onsubmit: async (event) => {
        event.preventDefault();
        if (!onSubmit) return dialog.close();
        go.disabled = true;
        replace(problem);
        try {
          const answer = await onSubmit(new FormData(content), content);
          if (answer !== KEEP) {
            result = answer;
            dialog.close();
          }
        } catch (error) {
          replace(problem, failure(error));
        } finally {
          go.disabled = false;
        }
        return undefined;
      },
    },
    h('header', null, h('h2', { id }, title),
      h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close', onclick: () => dialog.close() }, '×')),
    h('div', { class: 'dialog-body', tabIndex: -1 }, body, problem),
    h('footer', null, actions, leave, go));
    const dialog = h('dialog', { class: wide ? 'wide' : '', 'aria-labelledby': id }, content);
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
    const first = content.querySelector('[autofocus], .dialog-body :is(input, select, textarea):not([type=hidden])');
    (first ?? go ?? leave).focus();
  });
}
